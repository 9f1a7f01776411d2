#include "cpu/pack_group.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/half.h"
#include "cpu/shape.h"

namespace glmd::cpu {
namespace {

constexpr float kTiny = 1e-30F;  // rows below this are zero: their scale has no finite inverse

// To the nearest integer, ties to even; |x| < 2^22. Unlike lrint it vectorises.
int nearest(float x) { return static_cast<int>(float_to_bits(x + 12582912.0F)) - 0x4B400000; }

std::uint16_t load_u16(const std::uint8_t* in) {
  std::uint16_t value = 0;
  std::memcpy(&value, in, sizeof value);
  return value;
}

// Everything below takes a block of columns of one row after the other, which vectorises, and then
// interleaves the rows.
template <class T>
using Block = T[kGroupRows][kBlock];

void pack_half(const float* rows, std::size_t stride, std::size_t columns, std::uint8_t* out) {
  Block<std::uint16_t> halves;
  for (std::size_t start = 0; start < columns; start += kBlock) {
    const std::size_t count = std::min<std::size_t>(kBlock, columns - start);
    for (std::size_t r = 0; r < kGroupRows; ++r) {
      const float* row = rows + r * stride + start;
      for (std::size_t k = 0; k < count; ++k) halves[r][k] = float_to_half(row[k]);
    }
    for (std::size_t k = 0; k < count; ++k) {
      for (std::size_t r = 0; r < kGroupRows; ++r, out += 2) std::memcpy(out, &halves[r][k], 2);
    }
  }
}

void pack_int8(const float* rows, std::size_t stride, std::size_t columns, std::uint8_t* out) {
  float inverse[kGroupRows];
  for (std::size_t r = 0; r < kGroupRows; ++r, out += sizeof(float)) {
    float largest = 0.0F;
    for (std::size_t k = 0; k < columns; ++k) {
      largest = std::max(largest, std::fabs(rows[r * stride + k]));
    }
    const float scale = largest > kTiny ? largest / 127.0F : 0.0F;
    inverse[r] = largest > kTiny ? 127.0F / largest : 0.0F;
    std::memcpy(out, &scale, sizeof scale);
  }
  Block<std::int8_t> quants;
  for (std::size_t start = 0; start < columns; start += kBlock) {
    for (std::size_t r = 0; r < kGroupRows; ++r) {
      const float* row = rows + r * stride + start;
      for (std::size_t k = 0; k < kBlock; ++k) {
        quants[r][k] = static_cast<std::int8_t>(nearest(row[k] * inverse[r]));
      }
    }
    for (std::size_t quad = 0; quad < kBlock; quad += 4) {
      for (std::size_t r = 0; r < kGroupRows; ++r, out += 4) std::memcpy(out, &quants[r][quad], 4);
    }
  }
}

// The weight of largest magnitude becomes -8, the end of the range with one step more; see Q4_0 of
// https://github.com/ggml-org/ggml. Quantised by the scale as stored, so that its rounding costs
// nothing. False if the scale overflows.
bool int4_scale(const float* x, std::size_t n, std::uint16_t* half, float* inverse) {
  float low = 0.0F;
  float high = 0.0F;
  for (std::size_t i = 0; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  *half = float_to_half((high > -low ? high : low) / -8.0F);
  const float scale = half_to_float(*half);
  *inverse = scale != 0.0F ? 1.0F / scale : 0.0F;
  return std::isfinite(scale);
}

bool pack_int4(const float* rows, std::size_t stride, std::size_t columns,
               std::size_t columns_per_scale, std::uint8_t* out) {
  bool ok = true;
  float inverse[kGroupRows];
  Block<std::uint8_t> nibbles;
  for (std::size_t start = 0; start < columns; start += kBlock) {
    for (std::size_t r = 0; start % columns_per_scale == 0 && r < kGroupRows; ++r, out += 2) {
      std::uint16_t half = 0;
      ok &= int4_scale(rows + r * stride + start, columns_per_scale, &half, &inverse[r]);
      std::memcpy(out, &half, sizeof half);
    }
    for (std::size_t r = 0; r < kGroupRows; ++r) {
      const float* row = rows + r * stride + start;
      for (std::size_t k = 0; k < kBlock; ++k) {
        const float q = std::min(std::max(row[k] * inverse[r], -8.0F), 7.0F);
        nibbles[r][k] = static_cast<std::uint8_t>(nearest(q) + 8);
      }
      for (std::size_t k = 0; k < kBlock / 2; ++k) {
        nibbles[r][k] = static_cast<std::uint8_t>(nibbles[r][k] | nibbles[r][16 + k] << 4);
      }
    }
    for (std::size_t quad = 0; quad < kBlock / 2; quad += 4) {
      for (std::size_t r = 0; r < kGroupRows; ++r, out += 4) std::memcpy(out, &nibbles[r][quad], 4);
    }
  }
  return ok;
}

float unpack_int4(const std::uint8_t* group, std::size_t r, std::size_t k,
                  std::size_t columns_per_scale) {
  const std::size_t in_block = k % kBlock;
  const std::uint8_t* scales = group + k / columns_per_scale * (16 + columns_per_scale * 4);
  const std::uint8_t* quants = scales + 16 + k % columns_per_scale / kBlock * 128;
  const std::uint8_t pair = quants[in_block % 16 / 4 * 32 + r * 4 + in_block % 4];
  const int nibble = in_block < 16 ? pair & 15 : pair >> 4;
  return half_to_float(load_u16(scales + r * 2)) * static_cast<float>(nibble - 8);
}

}  // namespace

std::size_t padded_columns(Kind kind, int cols) {
  const auto n = static_cast<std::size_t>(cols);
  if (kind == Kind::f16 || kind == Kind::rows_f16) return n;
  return round_up(n, kind == Kind::int4g64 ? 64 : 32);
}

bool pack_group(Kind kind, const float* rows, std::size_t stride, std::size_t columns,
                std::uint8_t* out) {
  switch (kind) {
    case Kind::f16:
      pack_half(rows, stride, columns, out);
      return true;
    case Kind::int8:
      pack_int8(rows, stride, columns, out);
      return true;
    case Kind::int4g32:
      return pack_int4(rows, stride, columns, 32, out);
    case Kind::int4g64:
      return pack_int4(rows, stride, columns, 64, out);
    case Kind::rows_f16:
      break;
  }
  return false;
}

float unpack_value(Kind kind, const std::uint8_t* group, std::size_t r, std::size_t k) {
  switch (kind) {
    case Kind::int8: {
      float scale = 0.0F;
      std::memcpy(&scale, group + r * sizeof scale, sizeof scale);
      const std::uint8_t q = group[32 + k / 4 * 32 + r * 4 + k % 4];
      return scale * static_cast<float>(static_cast<std::int8_t>(q));
    }
    case Kind::int4g32:
      return unpack_int4(group, r, k, 32);
    case Kind::int4g64:
      return unpack_int4(group, r, k, 64);
    case Kind::f16:
    case Kind::rows_f16:
      break;
  }
  return half_to_float(load_u16(group + (k * kGroupRows + r) * 2));
}

}  // namespace glmd::cpu
