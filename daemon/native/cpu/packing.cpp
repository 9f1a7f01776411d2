#include "cpu/packing.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cpu/half.h"
#include "cpu/pack_group.h"
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

void check_size(int rows, int cols) {
  if (rows <= 0 || cols <= 0) {
    throw std::invalid_argument("a matrix of " + std::to_string(rows) + " × " +
                                std::to_string(cols) + " has nothing to pack");
  }
}

// Converts in pieces that fit the L1 cache: rows need not be aligned, and the loops vectorise.
template <class Convert>
void read_u16(const std::uint8_t* bytes, std::size_t n, Convert convert, float* out) {
  std::uint16_t piece[512];
  for (std::size_t start = 0; start < n; start += 512) {
    const std::size_t count = std::min<std::size_t>(512, n - start);
    std::memcpy(piece, bytes + start * 2, count * 2);
    for (std::size_t k = 0; k < count; ++k) out[start + k] = convert(piece[k]);
  }
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
      read_u16(bytes, cols, [](std::uint16_t h) { return half_to_float(h); }, out);
      break;
    case SourceType::bf16:
      read_u16(bytes, cols, [](std::uint16_t b) { return bfloat_to_float(b); }, out);
      break;
  }
  bool fits = true;
  for (std::size_t k = 0; k < cols; ++k) fits &= std::fabs(out[k]) <= limit;  // false for NaN
  if (fits) return -1;
  const auto* bad =
      std::find_if(out, out + cols, [limit](float x) { return !(std::fabs(x) <= limit); });
  return static_cast<int>(bad - out);
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
  const std::size_t columns = padded_columns(kind, cols);
  switch (kind) {
    case Kind::int8:
      return 32 + columns * 8;
    case Kind::int4g32:
      return columns / 32 * 144;
    case Kind::int4g64:
      return columns / 64 * 272;
    case Kind::f16:
    case Kind::rows_f16:
      break;
  }
  return columns * 16;
}

std::size_t packed_bytes(Kind kind, int rows, int cols) {
  check_size(rows, cols);
  const auto n = static_cast<std::size_t>(kind == Kind::rows_f16 ? rows : groups_of(rows));
  return n *
         (kind == Kind::rows_f16 ? static_cast<std::size_t>(cols) * 2 : group_bytes(kind, cols));
}

void pack(const Source& source, Kind kind, ThreadPool& pool, std::uint8_t* out) {
  check_size(source.rows, source.cols);
  const bool halves = kind == Kind::f16 || kind == Kind::rows_f16;
  // Above this a value rounds to infinity; the integer kinds check their scales instead.
  const float limit = halves ? std::nextafter(65520.0F, 0.0F) : std::numeric_limits<float>::max();
  const std::size_t stride = padded(source.cols);
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
    const int first = group * kGroupRows;
    const int count = std::min(kGroupRows, source.rows - first);
    if (count < kGroupRows) std::fill(rows, rows + kGroupRows * stride, 0.0F);
    for (int r = 0; r < count; ++r) {
      const int col =
          read_row(source, first + r, limit, rows + static_cast<std::size_t>(r) * stride);
      if (col >= 0) return report(first + r, col);
    }
    const auto cols = static_cast<std::size_t>(source.cols);
    if (kind == Kind::rows_f16) {
      auto* target = reinterpret_cast<std::uint16_t*>(out) + static_cast<std::size_t>(first) * cols;
      for (int r = 0; r < count; ++r, target += cols) {
        const float* row = rows + static_cast<std::size_t>(r) * stride;
        for (std::size_t k = 0; k < cols; ++k) target[k] = float_to_half(row[k]);
      }
      return;
    }
    std::uint8_t* target = out + static_cast<std::size_t>(group) * group_bytes(kind, source.cols);
    if (!pack_group(kind, rows, stride, padded_columns(kind, source.cols), target)) {
      report(first, 0);
    }
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
  const std::size_t bytes = group_bytes(kind, cols);
  pool.run(groups_of(rows), [&](int, int group) {
    const int first = group * kGroupRows;
    const int count = std::min(kGroupRows, rows - first);
    for (int r = 0; r < count; ++r) {
      const std::size_t row = static_cast<std::size_t>(first + r);
      for (std::size_t k = 0; k < width; ++k) {
        float& value = out[row * width + k];
        if (kind == Kind::rows_f16) {
          std::uint16_t half = 0;
          std::memcpy(&half, packed + (row * width + k) * 2, sizeof half);
          value = half_to_float(half);
        } else {
          value = unpack_value(kind, packed + static_cast<std::size_t>(group) * bytes,
                               static_cast<std::size_t>(r), k);
        }
      }
    }
  });
}

}  // namespace glmd::cpu
