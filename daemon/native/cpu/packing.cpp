#include "cpu/packing.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cpu/half.h"
#include "cpu/shape.h"

namespace glmd::cpu {
namespace {

struct KindName {
  const char* name;
  Kind kind;
};
constexpr KindName kKinds[] = {{"f16", Kind::f16},
                               {"int8", Kind::int8},
                               {"int4g32", Kind::int4g32},
                               {"int4g64", Kind::int4g64},
                               {"rows_f16", Kind::rows_f16}};

constexpr float kTiny =
    1e-30F;  // rows below this are zero: the inverse of their scale may be infinite

int block_columns(Kind kind) { return kind == Kind::int4g64 ? 2 * kBlock : kBlock; }

std::size_t padded_columns(Kind kind, int cols) {
  return round_up(static_cast<std::size_t>(cols), static_cast<std::size_t>(block_columns(kind)));
}

void store_u16(std::uint8_t* out, std::uint16_t value) { std::memcpy(out, &value, sizeof value); }

std::uint16_t load_u16(const std::uint8_t* in) {
  std::uint16_t value = 0;
  std::memcpy(&value, in, sizeof value);
  return value;
}

// Eight rows of float32, `stride` apart, zero beyond the matrix.
struct Group {
  const float* rows;
  std::size_t stride;
  float at(int row, std::size_t col) const {
    return rows[static_cast<std::size_t>(row) * stride + col];
  }
};

void pack_f16(const Group& in, std::size_t cols, std::uint8_t* out) {
  for (std::size_t k = 0; k < cols; ++k) {
    for (int r = 0; r < kGroupRows; ++r, out += 2) store_u16(out, float_to_half(in.at(r, k)));
  }
}

void pack_int8(const Group& in, std::size_t cols, std::uint8_t* out) {
  float inverse[kGroupRows];
  for (int r = 0; r < kGroupRows; ++r) {
    float largest = 0.0F;
    for (std::size_t k = 0; k < cols; ++k) largest = std::max(largest, std::fabs(in.at(r, k)));
    const float scale = largest > kTiny ? largest / 127.0F : 0.0F;
    inverse[r] = largest > kTiny ? 127.0F / largest : 0.0F;
    std::memcpy(out + static_cast<std::size_t>(r) * sizeof scale, &scale, sizeof scale);
  }
  out += kGroupRows * sizeof(float);
  for (std::size_t k = 0; k < cols; k += 4) {
    for (int r = 0; r < kGroupRows; ++r) {
      for (std::size_t j = 0; j < 4; ++j, ++out) {
        const long q = std::lrint(in.at(r, k + j) * inverse[r]);
        *out = static_cast<std::uint8_t>(std::clamp(q, -127L, 127L));
      }
    }
  }
}

// The weight of largest magnitude becomes -8, the end of the range with one step more; see Q4_0 of
// https://github.com/ggml-org/ggml. Quantised by the scale as stored, so that its rounding costs
// nothing. False if the scale overflows.
bool int4_scale(const float* x, std::size_t n, std::uint16_t* half, float* inverse) {
  float extreme = 0.0F;
  for (std::size_t i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  *half = float_to_half(extreme / -8.0F);
  const float scale = half_to_float(*half);
  *inverse = scale != 0.0F ? 1.0F / scale : 0.0F;
  return std::isfinite(scale);
}

bool pack_int4(const Group& in, std::size_t cols, std::size_t columns_per_scale,
               std::uint8_t* out) {
  bool ok = true;
  float inverse[kGroupRows];
  const auto nibble = [&](int r, std::size_t k) {
    const long q = std::lrint(in.at(r, k) * inverse[r]) + 8;
    return static_cast<unsigned>(std::clamp(q, 0L, 15L));
  };
  for (std::size_t start = 0; start < cols; start += columns_per_scale) {
    for (int r = 0; r < kGroupRows; ++r, out += 2) {
      std::uint16_t half = 0;
      ok &= int4_scale(&in.rows[static_cast<std::size_t>(r) * in.stride + start], columns_per_scale,
                       &half, &inverse[r]);
      store_u16(out, half);
    }
    for (std::size_t block = start; block < start + columns_per_scale; block += kBlock) {
      for (std::size_t k = block; k < block + 16; k += 4) {
        for (int r = 0; r < kGroupRows; ++r) {
          for (std::size_t j = 0; j < 4; ++j, ++out) {
            *out = static_cast<std::uint8_t>(nibble(r, k + j) | nibble(r, k + 16 + j) << 4);
          }
        }
      }
    }
  }
  return ok;
}

// One row as float32. Returns the column of the first value that is not finite or above `limit`, -1
// if there is none.
int read_row(const Source& source, int row, float limit, float* out) {
  const auto* bytes = static_cast<const std::uint8_t*>(source.data) +
                      static_cast<std::ptrdiff_t>(row) * source.row_bytes;
  const auto cols = static_cast<std::size_t>(source.cols);
  switch (source.type) {
    case SourceType::f32:
      std::memcpy(out, bytes, cols * sizeof(float));
      break;
    case SourceType::f16:
      for (std::size_t k = 0; k < cols; ++k) out[k] = half_to_float(load_u16(bytes + 2 * k));
      break;
    case SourceType::bf16:
      for (std::size_t k = 0; k < cols; ++k) out[k] = bfloat_to_float(load_u16(bytes + 2 * k));
      break;
  }
  for (std::size_t k = 0; k < cols; ++k) {
    if (!(std::fabs(out[k]) <= limit)) return static_cast<int>(k);
  }
  return -1;
}

void check_size(int rows, int cols) {
  if (rows <= 0 || cols <= 0) {
    throw std::invalid_argument("a matrix of " + std::to_string(rows) + " × " +
                                std::to_string(cols) + " has nothing to pack");
  }
}

}  // namespace

Kind kind_from_name(const std::string& name) {
  for (const KindName& entry : kKinds) {
    if (name == entry.name) return entry.kind;
  }
  throw std::invalid_argument("unknown kind \"" + name +
                              "\"; there are f16, int8, int4g32, int4g64, rows_f16");
}

std::size_t group_bytes(Kind kind, int cols) {
  const std::size_t padded_cols = padded_columns(kind, cols);
  switch (kind) {
    case Kind::f16:
      return static_cast<std::size_t>(cols) * 16;
    case Kind::int8:
      return 32 + padded_cols * 8;
    case Kind::int4g32:
      return padded_cols / 32 * 144;
    case Kind::int4g64:
      return padded_cols / 64 * 272;
    case Kind::rows_f16:
      break;
  }
  throw std::invalid_argument("rows_f16 has no groups");
}

std::size_t packed_bytes(Kind kind, int rows, int cols) {
  check_size(rows, cols);
  if (kind == Kind::rows_f16) {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) * 2;
  }
  return static_cast<std::size_t>(groups_of(rows)) * group_bytes(kind, cols);
}

void pack(const Source& source, Kind kind, ThreadPool& pool, std::uint8_t* out) {
  check_size(source.rows, source.cols);
  const bool halves = kind == Kind::f16 || kind == Kind::rows_f16;
  // Above this a value rounds to infinity; the integer kinds check their scales instead.
  const float limit = halves ? std::nextafter(65520.0F, 0.0F) : std::numeric_limits<float>::max();
  const std::size_t stride = padded_columns(Kind::int4g64, source.cols);
  std::vector<float> scratch(static_cast<std::size_t>(pool.threads()) * kGroupRows * stride);

  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> bad{kNone};  // row · 2^32 + column of the first bad value
  const auto report = [&](int row, int col) {
    const std::int64_t found = (static_cast<std::int64_t>(row) << 32) + col;
    std::int64_t seen = bad.load();
    while (found < seen && !bad.compare_exchange_weak(seen, found)) {
    }
  };

  pool.run(groups_of(source.rows), [&](int worker, int group) {
    float* rows = scratch.data() + static_cast<std::size_t>(worker) * kGroupRows * stride;
    std::fill(rows, rows + kGroupRows * stride, 0.0F);
    const int first = group * kGroupRows;
    const int count = std::min(kGroupRows, source.rows - first);
    for (int r = 0; r < count; ++r) {
      const int col =
          read_row(source, first + r, limit, rows + static_cast<std::size_t>(r) * stride);
      if (col >= 0) return report(first + r, col);
    }
    const Group in{rows, stride};
    const auto cols = static_cast<std::size_t>(source.cols);
    if (kind == Kind::rows_f16) {
      std::uint8_t* row = out + static_cast<std::size_t>(first) * cols * 2;
      for (int r = 0; r < count; ++r) {
        for (std::size_t k = 0; k < cols; ++k, row += 2) store_u16(row, float_to_half(in.at(r, k)));
      }
      return;
    }
    std::uint8_t* packed = out + static_cast<std::size_t>(group) * group_bytes(kind, source.cols);
    const std::size_t padded_cols = padded_columns(kind, source.cols);
    bool ok = true;
    switch (kind) {
      case Kind::f16:
        pack_f16(in, cols, packed);
        break;
      case Kind::int8:
        pack_int8(in, padded_cols, packed);
        break;
      case Kind::int4g32:
        ok = pack_int4(in, padded_cols, 32, packed);
        break;
      case Kind::int4g64:
        ok = pack_int4(in, padded_cols, 64, packed);
        break;
      case Kind::rows_f16:
        break;
    }
    if (!ok) report(first, 0);
  });

  if (const std::int64_t found = bad.load(); found != kNone) {
    throw std::invalid_argument("the value at row " + std::to_string(found >> 32) + ", column " +
                                std::to_string(found & 0xFFFFFFFF) +
                                " is not finite, or too large for F16 (largest 65504)");
  }
}

void unpack(const std::uint8_t* packed, Kind kind, int rows, int cols, ThreadPool& pool,
            float* out) {
  check_size(rows, cols);
  const auto width = static_cast<std::size_t>(cols);
  const std::size_t bytes = kind == Kind::rows_f16 ? width * 16 : group_bytes(kind, cols);
  const auto column_blocks = static_cast<std::size_t>(block_columns(kind));

  const auto value = [&](const std::uint8_t* group, std::size_t r, std::size_t k) {
    const std::size_t in_block = k % kBlock;
    switch (kind) {
      case Kind::f16:
        return half_to_float(load_u16(group + (k * kGroupRows + r) * 2));
      case Kind::rows_f16:
        return half_to_float(load_u16(group + (r * width + k) * 2));
      case Kind::int8: {
        float scale = 0.0F;
        std::memcpy(&scale, group + r * sizeof scale, sizeof scale);
        const std::uint8_t q = group[32 + k / 4 * 32 + r * 4 + k % 4];
        return scale * static_cast<float>(static_cast<std::int8_t>(q));
      }
      case Kind::int4g32:
      case Kind::int4g64:
        break;
    }
    const std::uint8_t* scales = group + k / column_blocks * (16 + column_blocks * 4);
    const std::uint8_t* quants = scales + 16 + k % column_blocks / kBlock * 128;
    const std::uint8_t pair = quants[in_block % 16 / 4 * 32 + r * 4 + in_block % 4];
    const int nibble = in_block < 16 ? pair & 15 : pair >> 4;
    return half_to_float(load_u16(scales + r * 2)) * static_cast<float>(nibble - 8);
  };

  pool.run(groups_of(rows), [&](int, int group) {
    const auto first = static_cast<std::size_t>(group) * kGroupRows;
    const std::size_t count =
        std::min<std::size_t>(kGroupRows, static_cast<std::size_t>(rows) - first);
    for (std::size_t r = 0; r < count; ++r) {
      float* row = out + (first + r) * width;
      for (std::size_t k = 0; k < width; ++k) {
        row[k] = value(packed + static_cast<std::size_t>(group) * bytes, r, k);
      }
    }
  });
}

}  // namespace glmd::cpu
