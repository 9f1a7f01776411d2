// The integer part of a quantised product for a block of 32 columns, in plain loops.
#pragma once

#include "cpu/simd.h"

namespace glmd::cpu {
namespace {

// dot[t][g][r] = Σ w[g][r][k] · x[t][k]
template <int T, int G>
void block_dot_int8(const std::uint8_t* w, std::size_t group_bytes, const std::int8_t* x,
                    std::size_t stride, I8 (*dot)[G]) {
  for (int t = 0; t < T; ++t) {
    const std::int8_t* token = x + static_cast<std::size_t>(t) * stride;
    for (int g = 0; g < G; ++g) {
      const std::uint8_t* block = w + static_cast<std::size_t>(g) * group_bytes;
      I8 acc = {};
      for (int quad = 0; quad < 8; ++quad) {
        for (int r = 0; r < kLanes; ++r) {
          for (int j = 0; j < 4; ++j) {
            acc[r] += static_cast<std::int8_t>(block[quad * 32 + r * 4 + j]) * token[quad * 4 + j];
          }
        }
      }
      dot[t][g] = acc;
    }
  }
}

// dot[t][g][r] = Σ (nibble[g][r][k] - 8) · x[t][k], where `sum` is Σ x[t][k].
template <int T, int G>
void block_dot_int4(const std::uint8_t* w, std::size_t group_bytes, const std::int8_t* x,
                    std::size_t stride, const std::int32_t* sum, std::size_t sum_stride,
                    I8 (*dot)[G]) {
  for (int t = 0; t < T; ++t) {
    const std::int8_t* token = x + static_cast<std::size_t>(t) * stride;
    const std::int32_t offset = 8 * sum[static_cast<std::size_t>(t) * sum_stride];
    for (int g = 0; g < G; ++g) {
      const std::uint8_t* block = w + static_cast<std::size_t>(g) * group_bytes;
      I8 acc = {};
      for (int quad = 0; quad < 4; ++quad) {
        for (int r = 0; r < kLanes; ++r) {
          for (int j = 0; j < 4; ++j) {
            const int pair = block[quad * 32 + r * 4 + j];
            acc[r] += (pair & 15) * token[quad * 4 + j] + (pair >> 4) * token[16 + quad * 4 + j];
          }
        }
      }
      dot[t][g] = acc - offset;
    }
  }
}

}  // namespace
}  // namespace glmd::cpu
