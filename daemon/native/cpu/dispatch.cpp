// Which kernels run on this CPU. Kept apart from the kernels: a unit compiled for AVX2 must not run
// before this has said that it may.
#include <cstdlib>
#include <cstring>

#include "cpu/kernels.h"

#if defined(GLMD_AVX2)
#include <cpuid.h>
#endif

namespace glmd::cpu {

extern const Kernels kPortableKernels;

const Kernels& portable_kernels() { return kPortableKernels; }

#if defined(GLMD_AVX2)
extern const Kernels kAvx2Kernels;

namespace {

bool has_f16c() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace

const Kernels* avx2_kernels() {
  static const bool usable =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  return usable ? &kAvx2Kernels : nullptr;
}
#else
const Kernels* avx2_kernels() { return nullptr; }
#endif

const Kernels& best_kernels() {
  static const Kernels& kernels = []() -> const Kernels& {
    const char* wanted = std::getenv("GLMD_CPU");
    const bool portable = wanted != nullptr && std::strcmp(wanted, "portable") == 0;
    const Kernels* avx2 = portable ? nullptr : avx2_kernels();
    return avx2 != nullptr ? *avx2 : portable_kernels();
  }();
  return kernels;
}

}  // namespace glmd::cpu
