// The integer part of a quantised product for one block of 32 columns × 8 rows, with AVX2.
//
// A dword of activations (4 columns) is broadcast over the 8 rows; the weights of a quad of
// columns are one vector. Quads outside, tokens inside: the weights stay in registers.
#pragma once

#include "cpu/simd.h"

namespace glmd::cpu {
namespace {

inline __m256i broadcast_quad(const std::int8_t* p) {
  std::int32_t quad;
  __builtin_memcpy(&quad, p, sizeof quad);
  return _mm256_set1_epi32(quad);
}

inline __m256i load_quants(const std::uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// maddubs wants one unsigned factor: |w| · (x with the sign of w). Exact, as both are within ±127,
// and two products stay below 2^15.
template <int T>
inline void block_dot_int8(const std::uint8_t* w, const std::int8_t* x, std::size_t stride,
                           I8* dot) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm256_setzero_si256();
  for (int quad = 0; quad < 8; ++quad) {
    const __m256i signs = load_quants(w + quad * 32);
    const __m256i magnitudes = _mm256_abs_epi8(signs);
    for (int t = 0; t < T; ++t) {
      const __m256i value = broadcast_quad(x + static_cast<std::size_t>(t) * stride + quad * 4);
      const __m256i pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(value, signs));
      acc[t] = _mm256_add_epi32(acc[t], _mm256_madd_epi16(pairs, ones));
    }
  }
  for (int t = 0; t < T; ++t) dot[t] = (I8)acc[t];
}

// Nibbles stay unsigned, the offset of 8 is taken off as 8 · Σx. All eight products of a lane fit
// in int16: 8 · 2 · 15 · 127 = 30480.
template <int T>
inline void block_dot_int4(const std::uint8_t* w, const std::int8_t* x, std::size_t stride,
                           const std::int32_t* sum, std::size_t sum_stride, I8* dot) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i mask = _mm256_set1_epi8(15);
  __m256i acc[T];
  for (int t = 0; t < T; ++t) acc[t] = _mm256_setzero_si256();
  for (int quad = 0; quad < 4; ++quad) {
    const __m256i pairs = load_quants(w + quad * 32);
    const __m256i low = _mm256_and_si256(pairs, mask);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), mask);
    for (int t = 0; t < T; ++t) {
      const std::int8_t* token = x + static_cast<std::size_t>(t) * stride + quad * 4;
      acc[t] = _mm256_add_epi16(acc[t], _mm256_maddubs_epi16(low, broadcast_quad(token)));
      acc[t] = _mm256_add_epi16(acc[t], _mm256_maddubs_epi16(high, broadcast_quad(token + 16)));
    }
  }
  for (int t = 0; t < T; ++t) {
    const __m256i offset = _mm256_set1_epi32(8 * sum[static_cast<std::size_t>(t) * sum_stride]);
    dot[t] = (I8)_mm256_sub_epi32(_mm256_madd_epi16(acc[t], ones), offset);
  }
}

}  // namespace
}  // namespace glmd::cpu
