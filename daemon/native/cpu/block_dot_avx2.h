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

// Makes the compiler compute v here. Left alone, GCC does all products first and all sums later,
// for which no CPU has enough registers.
inline void pin(__m256i& v) { asm("" : "+x"(v)); }

inline __m256i load_quants(const std::uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}

// dot[t][g][r] = Σ w[g][r][k] · x[t][k]. maddubs wants one unsigned factor: |w| · (x with the sign
// of w). Exact, as both are within ±127, and two products stay below 2^15.
template <int T, int G>
inline void block_dot_int8(const std::uint8_t* w, std::size_t group_bytes, const std::int8_t* x,
                           std::size_t stride, I8 (*dot)[G]) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[T][G] = {};
  for (int quad = 0; quad < 8; ++quad) {
    __m256i signs[G];
    __m256i magnitudes[G];
    for (int g = 0; g < G; ++g) {
      signs[g] = load_quants(w + static_cast<std::size_t>(g) * group_bytes + quad * 32);
      magnitudes[g] = _mm256_abs_epi8(signs[g]);
    }
    for (int t = 0; t < T; ++t) {
      const __m256i value = broadcast_quad(x + static_cast<std::size_t>(t) * stride + quad * 4);
      for (int g = 0; g < G; ++g) {
        const __m256i pairs =
            _mm256_maddubs_epi16(magnitudes[g], _mm256_sign_epi8(value, signs[g]));
        acc[t][g] = _mm256_add_epi32(acc[t][g], _mm256_madd_epi16(pairs, ones));
        pin(acc[t][g]);
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int g = 0; g < G; ++g) dot[t][g] = (I8)acc[t][g];
  }
}

// dot[t][g][r] = Σ (nibble[g][r][k] - 8) · x[t][k], where `sum` is Σ x[t][k]. Nibbles stay unsigned
// and 8 · sum is taken off at the end. All eight products of a lane fit in int16: 8 · 2 · 15 · 127
// = 30480.
template <int T, int G>
inline void block_dot_int4(const std::uint8_t* w, std::size_t group_bytes, const std::int8_t* x,
                           std::size_t stride, const std::int32_t* sum, std::size_t sum_stride,
                           I8 (*dot)[G]) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i mask = _mm256_set1_epi8(15);
  __m256i acc[T][G] = {};
  for (int quad = 0; quad < 4; ++quad) {
    __m256i low[G];
    __m256i high[G];
    for (int g = 0; g < G; ++g) {
      const __m256i pairs = load_quants(w + static_cast<std::size_t>(g) * group_bytes + quad * 32);
      low[g] = _mm256_and_si256(pairs, mask);
      high[g] = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), mask);
    }
    for (int t = 0; t < T; ++t) {
      const std::int8_t* token = x + static_cast<std::size_t>(t) * stride + quad * 4;
      const __m256i first = broadcast_quad(token);
      const __m256i second = broadcast_quad(token + 16);
      for (int g = 0; g < G; ++g) {
        acc[t][g] = _mm256_add_epi16(acc[t][g], _mm256_maddubs_epi16(low[g], first));
        acc[t][g] = _mm256_add_epi16(acc[t][g], _mm256_maddubs_epi16(high[g], second));
        pin(acc[t][g]);
      }
    }
  }
  for (int t = 0; t < T; ++t) {
    const __m256i offset = _mm256_set1_epi32(8 * sum[static_cast<std::size_t>(t) * sum_stride]);
    for (int g = 0; g < G; ++g) {
      dot[t][g] = (I8)_mm256_sub_epi32(_mm256_madd_epi16(acc[t][g], ones), offset);
    }
  }
}

}  // namespace
}  // namespace glmd::cpu
