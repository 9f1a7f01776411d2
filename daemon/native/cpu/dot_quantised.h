// Products of packed int8 and int4 weights with int8 activations. Included by the translation units
// that define kernels; the layouts are those of packing.h.
//
// Within a block of 32 columns everything is integer arithmetic and exact. Each block adds
// float(dot) · scale to one float accumulator per output, blocks ascending, so the tile's size
// leaves no trace in the result.
#pragma once

#include "cpu/kernels.h"
#include "cpu/simd.h"

#if defined(__AVX2__)
#include "cpu/block_dot_avx2.h"
#else
#include "cpu/block_dot_portable.h"
#endif

namespace glmd::cpu {
namespace {

constexpr std::size_t kBlockColumns = 32;

struct Int8Format {
  static constexpr std::size_t kHeader = 32;   // bytes before a group's first block: row scales
  static constexpr std::size_t kSuper = 1;     // blocks that share their scales
  static constexpr std::size_t kScales = 0;    // bytes of scales before those blocks
  static constexpr std::size_t kQuants = 256;  // bytes of a block
};
struct Int4G32Format {
  static constexpr std::size_t kHeader = 0;
  static constexpr std::size_t kSuper = 1;
  static constexpr std::size_t kScales = 16;
  static constexpr std::size_t kQuants = 128;
};
struct Int4G64Format {
  static constexpr std::size_t kHeader = 0;
  static constexpr std::size_t kSuper = 2;
  static constexpr std::size_t kScales = 16;
  static constexpr std::size_t kQuants = 128;
};

template <class Format, int T>
void quantised_tile(const QuantisedRows& x, int first, const std::uint8_t* w, std::size_t supers,
                    float* out, std::size_t out_stride) {
  const std::int8_t* q = x.q + static_cast<std::size_t>(first) * x.stride;
  const float* scale = x.scale + static_cast<std::size_t>(first) * x.blocks;
  const std::int32_t* sum = x.sum + static_cast<std::size_t>(first) * x.blocks;
  const std::uint8_t* block = w + Format::kHeader;
  F8 acc[T] = {};
  for (std::size_t super = 0; super < supers; ++super) {
    F8 row_scale = {};
    if constexpr (Format::kScales > 0) {
      row_scale = load_half(reinterpret_cast<const std::uint16_t*>(block));
      block += Format::kScales;
    }
    for (std::size_t part = 0; part < Format::kSuper; ++part) {
      I8 dot[T];
      if constexpr (Format::kScales > 0) {
        block_dot_int4<T>(block, q, x.stride, sum, x.blocks, dot);
      } else {
        block_dot_int8<T>(block, q, x.stride, dot);
      }
      for (int t = 0; t < T; ++t) {
        const F8 block_scale = splat(scale[static_cast<std::size_t>(t) * x.blocks]);
        const F8 product = __builtin_convertvector(dot[t], F8);
        if constexpr (Format::kScales > 0) {
          acc[t] = fma(product, row_scale * block_scale, acc[t]);
        } else {
          acc[t] = fma(product, block_scale, acc[t]);
        }
      }
      block += Format::kQuants;
      q += kBlockColumns;
      ++scale;
      ++sum;
    }
  }
  for (int t = 0; t < T; ++t) {
    if constexpr (Format::kHeader > 0) acc[t] *= load(reinterpret_cast<const float*>(w));
    store(out + static_cast<std::size_t>(t) * out_stride, acc[t]);
  }
}

template <class Format>
void dot_quantised(const QuantisedRows& x, int tokens, const std::uint8_t* w, int groups,
                   std::size_t columns, float* out, std::size_t out_stride) {
  const std::size_t supers =
      (columns + Format::kSuper * kBlockColumns - 1) / (Format::kSuper * kBlockColumns);
  const std::size_t group_bytes =
      Format::kHeader + supers * (Format::kScales + Format::kSuper * Format::kQuants);
  for (int g = 0; g < groups; ++g, w += group_bytes, out += kLanes) {
    int t = 0;
    const auto row = [&] { return out + static_cast<std::size_t>(t) * out_stride; };
    for (; t + 4 <= tokens; t += 4) quantised_tile<Format, 4>(x, t, w, supers, row(), out_stride);
    switch (tokens - t) {
      case 3:
        quantised_tile<Format, 3>(x, t, w, supers, row(), out_stride);
        break;
      case 2:
        quantised_tile<Format, 2>(x, t, w, supers, row(), out_stride);
        break;
      case 1:
        quantised_tile<Format, 1>(x, t, w, supers, row(), out_stride);
        break;
      default:
        break;
    }
  }
}

}  // namespace
}  // namespace glmd::cpu
