// Eight rows of float32 to packed bytes and back; the layouts are those of packing.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/packing.h"

namespace glmd::cpu {

// `rows`: 8 rows of float32, `stride` apart, zero beyond the matrix and in the padding of columns.
// False if a scale overflows F16. Not for rows_f16.
bool pack_group(Kind kind, const float* rows, std::size_t stride, std::size_t columns,
                std::uint8_t* out);

// Columns with the padding that the kind asks for.
std::size_t padded_columns(Kind kind, int cols);

// What is packed at column k of row r.
float unpack_value(Kind kind, const std::uint8_t* group, std::size_t r, std::size_t k);

}  // namespace glmd::cpu
