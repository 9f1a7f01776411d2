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

template <class Format, int T, int G>
void quantised_tile(const QuantisedRows& x, int first, const std::uint8_t* w, std::size_t supers,
                    std::size_t group_bytes, float* out, std::size_t out_stride) {
  constexpr bool kInt4 = Format::kScales > 0;
  const std::int8_t* q = x.q + static_cast<std::size_t>(first) * x.stride;
  const float* scale = x.scale + static_cast<std::size_t>(first) * x.blocks;
  const std::int32_t* sum = x.sum + static_cast<std::size_t>(first) * x.blocks;
  const std::uint8_t* block = w + Format::kHeader;
  const auto of_group = [group_bytes](const std::uint8_t* at, int g) {
    return at + static_cast<std::size_t>(g) * group_bytes;
  };
  F8 acc[T][G] = {};
  for (std::size_t super = 0; super < supers; ++super) {
    F8 row_scale[G] = {};
    if constexpr (kInt4) {
      for (int g = 0; g < G; ++g) {
        row_scale[g] = load_half(reinterpret_cast<const std::uint16_t*>(of_group(block, g)));
      }
      block += Format::kScales;
    }
    for (std::size_t part = 0; part < Format::kSuper; ++part) {
      I8 dot[T][G];
      if constexpr (kInt4) {
        block_dot_int4<T, G>(block, group_bytes, q, x.stride, sum, x.blocks, dot);
      } else {
        block_dot_int8<T, G>(block, group_bytes, q, x.stride, dot);
      }
      for (int t = 0; t < T; ++t) {
        const F8 block_scale = splat(scale[static_cast<std::size_t>(t) * x.blocks]);
        for (int g = 0; g < G; ++g) {
          const F8 factor = kInt4 ? row_scale[g] * block_scale : block_scale;
          acc[t][g] = fma(__builtin_convertvector(dot[t][g], F8), factor, acc[t][g]);
        }
      }
      block += Format::kQuants;
      q += kBlockColumns;
      ++scale;
      ++sum;
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int g = 0; g < G; ++g) {
      if constexpr (!kInt4) acc[t][g] *= load(reinterpret_cast<const float*>(of_group(w, g)));
      store(out + static_cast<std::size_t>(t) * out_stride + g * kLanes, acc[t][g]);
    }
  }
}

template <class Format, int G>
void quantised_tokens(const QuantisedRows& x, int tokens, const std::uint8_t* w, std::size_t supers,
                      std::size_t group_bytes, float* out, std::size_t out_stride) {
  int t = 0;
  for (; t + 4 <= tokens; t += 4, out += 4 * out_stride) {
    quantised_tile<Format, 4, G>(x, t, w, supers, group_bytes, out, out_stride);
  }
  switch (tokens - t) {
    case 3:
      return quantised_tile<Format, 3, G>(x, t, w, supers, group_bytes, out, out_stride);
    case 2:
      return quantised_tile<Format, 2, G>(x, t, w, supers, group_bytes, out, out_stride);
    case 1:
      return quantised_tile<Format, 1, G>(x, t, w, supers, group_bytes, out, out_stride);
    default:
      return;
  }
}

template <class Format>
void dot_quantised(const QuantisedRows& x, int tokens, const std::uint8_t* w, int groups,
                   std::size_t columns, float* out, std::size_t out_stride) {
  const std::size_t supers =
      (columns + Format::kSuper * kBlockColumns - 1) / (Format::kSuper * kBlockColumns);
  const std::size_t bytes =
      Format::kHeader + supers * (Format::kScales + Format::kSuper * Format::kQuants);
  // Two row groups share each broadcast of an activation.
  for (; groups >= 2; groups -= 2, w += 2 * bytes, out += 2 * kLanes) {
    quantised_tokens<Format, 2>(x, tokens, w, supers, bytes, out, out_stride);
  }
  if (groups == 1) quantised_tokens<Format, 1>(x, tokens, w, supers, bytes, out, out_stride);
}

}  // namespace
}  // namespace glmd::cpu
