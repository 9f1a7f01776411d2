// The integer part of a quantised product for one block of 32 columns × 8 rows, in plain loops.
#pragma once

#include "cpu/simd.h"

namespace glmd::cpu {
namespace {

// dot[t][r] = Σ w[r][k] · x[t][k]
template <int T>
void block_dot_int8(const std::uint8_t* w, const std::int8_t* x, std::size_t stride, I8* dot) {
  for (int t = 0; t < T; ++t) {
    const std::int8_t* token = x + static_cast<std::size_t>(t) * stride;
    I8 acc = {};
    for (int quad = 0; quad < 8; ++quad) {
      for (int r = 0; r < kLanes; ++r) {
        for (int j = 0; j < 4; ++j) {
          acc[r] += static_cast<std::int8_t>(w[quad * 32 + r * 4 + j]) * token[quad * 4 + j];
        }
      }
    }
    dot[t] = acc;
  }
}

// dot[t][r] = Σ (nibble[r][k] - 8) · x[t][k]; `sum` is Σ x[t][k].
template <int T>
void block_dot_int4(const std::uint8_t* w, const std::int8_t* x, std::size_t stride,
                    const std::int32_t* sum, std::size_t sum_stride, I8* dot) {
  for (int t = 0; t < T; ++t) {
    const std::int8_t* token = x + static_cast<std::size_t>(t) * stride;
    const std::int32_t offset = 8 * sum[static_cast<std::size_t>(t) * sum_stride];
    I8 acc = {};
    for (int quad = 0; quad < 4; ++quad) {
      for (int r = 0; r < kLanes; ++r) {
        for (int j = 0; j < 4; ++j) {
          const int pair = w[quad * 32 + r * 4 + j];
          acc[r] += (pair & 15) * token[quad * 4 + j] + (pair >> 4) * token[16 + quad * 4 + j];
        }
      }
    }
    dot[t] = acc - offset;
  }
}

}  // namespace
}  // namespace glmd::cpu
