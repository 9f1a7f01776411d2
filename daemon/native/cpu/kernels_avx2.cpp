// The kernels for x86-64 with AVX2, FMA and F16C; this unit alone is compiled with those flags.
#include "cpu/kernel_table.h"

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile with -mavx2 -mfma -mf16c"
#endif

namespace glmd::cpu {

extern const Kernels kAvx2Kernels;
const Kernels kAvx2Kernels = make_kernels("avx2");

}  // namespace glmd::cpu
