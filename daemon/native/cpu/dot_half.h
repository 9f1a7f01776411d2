// Products with interleaved halves. Included by the translation units that define kernels.
//
// A tile of T tokens × G row groups is kept in registers over all columns. Each accumulator is one
// chain over the columns in ascending order, so the tile's size leaves no trace in the result.
#pragma once

#include "cpu/kernels.h"
#include "cpu/simd.h"

namespace glmd::cpu {
namespace {

template <int T, int G>
void half_tile(const float* x, std::size_t x_stride, HalfPanel w, std::size_t columns, float* out,
               std::size_t out_stride) {
  F8 acc[T][G] = {};
  for (std::size_t k = 0; k < columns; ++k) {
    F8 row[G];
    for (int g = 0; g < G; ++g) {
      row[g] =
          load_half(w.data + static_cast<std::size_t>(g) * w.group_stride + k * w.column_stride);
    }
    for (int t = 0; t < T; ++t) {
      const F8 value = splat(x[static_cast<std::size_t>(t) * x_stride + k]);
      for (int g = 0; g < G; ++g) acc[t][g] = fma(row[g], value, acc[t][g]);
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int g = 0; g < G; ++g) {
      store(out + static_cast<std::size_t>(t) * out_stride + g * kLanes, acc[t][g]);
    }
  }
}

template <int G>
void half_tokens(const float* x, std::size_t x_stride, int tokens, HalfPanel w, std::size_t columns,
                 float* out, std::size_t out_stride) {
  constexpr int kTile = 6;  // with two row groups: 12 accumulators, the most that 16 registers hold
  for (; tokens >= kTile + 3 || tokens == kTile; tokens -= kTile) {
    half_tile<kTile, G>(x, x_stride, w, columns, out, out_stride);
    x += kTile * x_stride;
    out += kTile * out_stride;
  }
  if (tokens > kTile) {  // 7 or 8: two middling tiles instead of a full and a tiny one
    half_tile<4, G>(x, x_stride, w, columns, out, out_stride);
    x += 4 * x_stride;
    out += 4 * out_stride;
    tokens -= 4;
  }
  switch (tokens) {
    case 5:
      return half_tile<5, G>(x, x_stride, w, columns, out, out_stride);
    case 4:
      return half_tile<4, G>(x, x_stride, w, columns, out, out_stride);
    case 3:
      return half_tile<3, G>(x, x_stride, w, columns, out, out_stride);
    case 2:
      return half_tile<2, G>(x, x_stride, w, columns, out, out_stride);
    case 1:
      return half_tile<1, G>(x, x_stride, w, columns, out, out_stride);
    default:
      return;
  }
}

void dot_half(const float* x, std::size_t x_stride, int tokens, HalfPanel w, int groups,
              std::size_t columns, float* out, std::size_t out_stride) {
  const auto advance = [&](int by) {
    w.data += static_cast<std::size_t>(by) * w.group_stride;
    out += by * kLanes;
    groups -= by;
  };
  // One chain has the latency of an addition a column; four hide it.
  for (; tokens == 1 && groups >= 4; advance(4)) {
    half_tile<1, 4>(x, x_stride, w, columns, out, out_stride);
  }
  for (; groups >= 2; advance(2)) half_tokens<2>(x, x_stride, tokens, w, columns, out, out_stride);
  if (groups == 1) half_tokens<1>(x, x_stride, tokens, w, columns, out, out_stride);
}

}  // namespace
}  // namespace glmd::cpu
