// Eight float lanes, for the translation units that define kernels.
//
// Each such unit is compiled for another instruction set. Everything here is in an unnamed
// namespace, so that no unit can end up calling code that was compiled for a CPU it does not run
// on; for the same reason these units include no standard header that has inline functions.
//
// A lane computes the same bits wherever in a vector it sits. Nothing may contract or reorder
// floating point: these units are compiled with -ffp-contract=off and say fma where they mean it.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace glmd::cpu {
namespace {

constexpr int kLanes = 8;

using F8 = float __attribute__((vector_size(32)));
using I8 = std::int32_t __attribute__((vector_size(32)));
using U8 = std::uint32_t __attribute__((vector_size(32)));
using H8 = std::uint16_t __attribute__((vector_size(16)));
using B8 = std::int8_t __attribute__((vector_size(8)));

inline F8 splat(float x) { return F8{x, x, x, x, x, x, x, x}; }

inline F8 load(const float* p) {
  F8 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, F8 v) { __builtin_memcpy(p, &v, sizeof v); }

// a·b + c with one rounding where the instruction set has it, else with two: the same everywhere
// within a build.
inline F8 fma(F8 a, F8 b, F8 c) {
#if defined(__AVX2__)
  return (F8)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  float32x4_t x[2];
  float32x4_t y[2];
  float32x4_t z[2];
  __builtin_memcpy(x, &a, sizeof a);
  __builtin_memcpy(y, &b, sizeof b);
  __builtin_memcpy(z, &c, sizeof c);
  z[0] = vfmaq_f32(z[0], x[0], y[0]);
  z[1] = vfmaq_f32(z[1], x[1], y[1]);
  __builtin_memcpy(&c, z, sizeof c);
  return c;
#else
  return a * b + c;
#endif
}

inline F8 max(F8 a, F8 b) { return a > b ? a : b; }

// Sums and maxima over the lanes, always in the same tree.
inline float sum(F8 v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

inline float max(F8 v) {
  float m = v[0];
  for (int i = 1; i < kLanes; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

// Lanes below n keep their value, the others become `other`.
inline F8 keep_below(F8 v, int n, float other) {
  const I8 lane = {0, 1, 2, 3, 4, 5, 6, 7};
  const I8 limit = {n, n, n, n, n, n, n, n};
  return lane < limit ? v : splat(other);
}

// Finite halves only: weights are checked when packed, the KV cache is clamped when written.
inline F8 load_half(const std::uint16_t* p) {
#if defined(__AVX2__)
  return (F8)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  H8 h;
  __builtin_memcpy(&h, p, sizeof h);
  const U8 bits = __builtin_convertvector(h, U8);
  const U8 sign = (bits & 0x8000U) << 16;
  const F8 value = (F8)((bits & 0x7FFFU) << 13) * 0x1p112F;
  return (F8)((U8)value | sign);
#endif
}

// To nearest, ties to even; |v| must not exceed 65504.
inline void store_half(std::uint16_t* p, F8 v) {
#if defined(__AVX2__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#else
  const U8 bits = (U8)v;
  const U8 sign = bits >> 16 & 0x8000U;
  const U8 magnitude = bits & 0x7FFFFFFFU;
  const U8 small = (U8)((F8)magnitude + 0.5F) - 0x3F000000U;
  const U8 normal = (magnitude - 0x38000000U + 0xFFFU + (magnitude >> 13 & 1U)) >> 13;
  const H8 h = __builtin_convertvector((magnitude < 0x38800000U ? small : normal) | sign, H8);
  __builtin_memcpy(p, &h, sizeof h);
#endif
}

// To the nearest integer, ties to even; |v| < 2^22.
inline I8 round(F8 v) { return (I8)(v + 12582912.0F) - 0x4B400000; }

// e^v within 2 ulp; 0 below e^-87, and e^88 above. Cody–Waite reduction to |r| ≤ ln 2 / 2, then the
// polynomial of Cephes' expf.
inline F8 exp(F8 v) {
  const F8 x = v < -87.0F ? splat(-87.0F) : (v > 88.0F ? splat(88.0F) : v);
  const F8 shifted = x * 1.44269504F + 12582912.0F;
  const F8 n = shifted - 12582912.0F;
  const F8 r = fma(n, splat(2.12194440e-4F), fma(n, splat(-0.693359375F), x));
  F8 y = splat(1.9875691500e-4F);
  y = fma(y, r, splat(1.3981999507e-3F));
  y = fma(y, r, splat(8.3334519073e-3F));
  y = fma(y, r, splat(4.1665795894e-2F));
  y = fma(y, r, splat(1.6666665459e-1F));
  y = fma(y, r, splat(5.0000001201e-1F));
  y = fma(y, r * r, r + 1.0F);
  const F8 power = (F8)(((I8)shifted << 23) + 0x3F800000);
  return v < -87.0F ? splat(0.0F) : y * power;
}

}  // namespace
}  // namespace glmd::cpu
