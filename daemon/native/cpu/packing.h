// How weight matrices lie in memory and in packed files.
//
// The rows of a matrix [rows, cols] are taken in groups of 8, the last one filled up with zero
// rows; group follows group without a gap. All numbers are little-endian. Within a group:
//
//   f16       for each column k: 8 halves, one per row.                        cols · 16 bytes
//
//   int8      8 float32 scales, one per row; then for each quad of columns (4q … 4q+3), columns
//             padded with zeros to a multiple of 32: 8 rows × 4 int8.      32 + cols32 · 8 bytes
//             w = scale · q, q in -127 … 127.
//
//   int4g32   for each block of 32 columns (padded likewise): 8 half scales, one per row; then for
//             q = 0 … 3: 8 rows × 4 bytes, byte j of a row holding column 4q+j of the block in its
//             low nibble and column 16+4q+j in its high one.             cols32 / 32 · 144 bytes
//             w = scale · (nibble - 8).
//
//   int4g64   for each block of 64 columns (padded likewise): 8 half scales, then the nibbles of
//             its two halves of 32 columns as above.                     cols64 / 64 · 272 bytes
//
//   rows_f16  no groups: row after row of halves, for the embedding, which is read by rows.
//
// This is the order in which the kernels read, so a packed file is mapped and used in place.
// Matrices must start at multiples of 4 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cpu/thread_pool.h"

namespace glmd::cpu {

enum class Kind : std::uint8_t { f16, int8, int4g32, int4g64, rows_f16 };
enum class SourceType : std::uint8_t { f16, f32, bf16 };

inline constexpr std::size_t kAlignment = 4;
inline constexpr int kGroupRows = 8;
inline constexpr int kBlock = 32;

// Both throw std::invalid_argument: for an unknown name, for a shape without elements.
Kind kind_from_name(const std::string& name);
std::size_t packed_bytes(Kind kind, int rows, int cols);

inline int groups_of(int rows) { return (rows + kGroupRows - 1) / kGroupRows; }
std::size_t group_bytes(Kind kind, int cols);  // of rows_f16: 8 rows

// A row-major matrix; `row_bytes` from the start of one row to that of the next.
struct Source {
  const void* data = nullptr;
  SourceType type = SourceType::f32;
  int rows = 0;
  int cols = 0;
  std::ptrdiff_t row_bytes = 0;
};

// Writes packed_bytes() bytes. Temporaries: one group of float32 rows per thread. Throws
// std::invalid_argument naming row and column of a value that is not finite or that F16 cannot
// hold.
void pack(const Source& source, Kind kind, ThreadPool& pool, std::uint8_t* out);

// The float32 [rows, cols] matrix that the packed bytes stand for.
void unpack(const std::uint8_t* packed, Kind kind, int rows, int cols, ThreadPool& pool,
            float* out);

}  // namespace glmd::cpu
