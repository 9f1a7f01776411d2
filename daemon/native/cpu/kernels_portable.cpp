// The kernels for the compiler's baseline: SSE2 on x86-64, NEON on aarch64.
#include "cpu/kernel_table.h"

namespace glmd::cpu {

extern const Kernels kPortableKernels;
const Kernels kPortableKernels = make_kernels("portable");

}  // namespace glmd::cpu
