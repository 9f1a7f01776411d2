// The byte layout of packing.h, written down a second time, and what quantisation may lose.
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "cpu/half.h"
#include "cpu/packing.h"
#include "tests/check.h"
#include "tests/random.h"

using namespace glmd::cpu;

namespace {

struct Size {
  int rows;
  int cols;
};
constexpr Size kSizes[] = {{1, 1}, {8, 32}, {9, 33}, {16, 64}, {27, 96}, {5, 100}, {40, 257}};
constexpr Kind kKinds[] = {Kind::f16, Kind::int8, Kind::int4g32, Kind::int4g64, Kind::rows_f16};

Source source_of(const std::vector<float>& values, Size size) {
  return {values.data(), SourceType::f32, size.rows, size.cols,
          size.cols * static_cast<std::ptrdiff_t>(sizeof(float))};
}

std::vector<std::uint8_t> packed(const Source& source, Kind kind, int threads = 2) {
  ThreadPool pool(threads);
  std::vector<std::uint8_t> bytes(packed_bytes(kind, source.rows, source.cols), 0xEE);
  pack(source, kind, pool, bytes.data());
  return bytes;
}

std::vector<float> unpacked(const std::vector<std::uint8_t>& bytes, Kind kind, Size size) {
  ThreadPool pool(2);
  std::vector<float> values(static_cast<std::size_t>(size.rows * size.cols));
  unpack(bytes.data(), kind, size.rows, size.cols, pool, values.data());
  return values;
}

float half_at(const std::vector<std::uint8_t>& bytes, std::size_t at) {
  std::uint16_t half = 0;
  std::memcpy(&half, &bytes.at(at), sizeof half);
  return half_to_float(half);
}

// What the matrix holds at (row, col), read from the bytes as the comment in packing.h has it.
float read(const std::vector<std::uint8_t>& bytes, Kind kind, int cols, int row, int col) {
  const auto n = static_cast<std::size_t>(cols);
  const auto k = static_cast<std::size_t>(col);
  const auto group = static_cast<std::size_t>(row / 8);
  const auto r = static_cast<std::size_t>(row % 8);
  if (kind == Kind::rows_f16) return half_at(bytes, (static_cast<std::size_t>(row) * n + k) * 2);
  if (kind == Kind::f16) return half_at(bytes, group * n * 16 + k * 16 + r * 2);
  if (kind == Kind::int8) {
    const std::size_t start = group * (32 + (n + 31) / 32 * 256);
    float scale = 0.0F;
    std::memcpy(&scale, &bytes.at(start + r * 4), sizeof scale);
    const std::uint8_t q = bytes.at(start + 32 + k / 4 * 32 + r * 4 + k % 4);
    return scale * static_cast<float>(static_cast<std::int8_t>(q));
  }
  const std::size_t width = kind == Kind::int4g32 ? 32 : 64;
  const std::size_t block_bytes = 16 + width * 4;
  const std::size_t start = (group * ((n + width - 1) / width) + k / width) * block_bytes;
  const std::size_t in = k % 32;
  const std::size_t quad = in % 16 / 4;
  const std::uint8_t pair =
      bytes.at(start + 16 + k % width / 32 * 128 + quad * 32 + r * 4 + in % 4);
  const int nibble = in < 16 ? pair & 15 : pair >> 4;
  return half_at(bytes, start + r * 2) * static_cast<float>(nibble - 8);
}

}  // namespace

TEST(unpack_reads_the_documented_layout) {
  glmd::test::Random random(4);
  for (const Size size : kSizes) {
    const auto values = random.vector(static_cast<std::size_t>(size.rows * size.cols), 2.0F);
    for (const Kind kind : kKinds) {
      const auto bytes = packed(source_of(values, size), kind);
      const auto back = unpacked(bytes, kind, size);
      for (int row = 0; row < size.rows; ++row) {
        for (int col = 0; col < size.cols; ++col) {
          CHECK_EQ(back[static_cast<std::size_t>(row * size.cols + col)],
                   read(bytes, kind, size.cols, row, col));
        }
      }
    }
  }
}

TEST(values_come_back_within_half_a_step) {
  glmd::test::Random random(5);
  for (const Size size : kSizes) {
    const auto values = random.vector(static_cast<std::size_t>(size.rows * size.cols), 2.0F);
    for (const Kind kind : kKinds) {
      const auto back = unpacked(packed(source_of(values, size), kind), kind, size);
      for (std::size_t i = 0; i < values.size(); ++i) {
        // int4: a step is at most 2/8, and a value opposite to the extreme one may be clipped by
        // a whole step.
        const float bound = kind == Kind::int8                               ? 2.0F / 254 * 1.001F
                            : kind == Kind::int4g32 || kind == Kind::int4g64 ? 0.25F * 1.001F
                                                                             : 0x1p-11F;
        CHECK_LE(std::fabs(values[i] - back[i]), bound);
      }
    }
  }
}

TEST(what_a_kind_can_hold_comes_back_exactly) {
  const Size size{9, 70};
  glmd::test::Random random(6);
  for (const Kind kind : kKinds) {
    const auto values = random.vector(static_cast<std::size_t>(size.rows * size.cols), 1.0F);
    const auto once = unpacked(packed(source_of(values, size), kind), kind, size);
    const auto twice = unpacked(packed(source_of(once, size), kind), kind, size);
    if (kind == Kind::int8) {  // scale · 127 / 127 may round
      for (std::size_t i = 0; i < once.size(); ++i) CHECK_LE(std::fabs(once[i] - twice[i]), 1e-6F);
    } else {
      CHECK(once == twice);
    }
  }
}

TEST(the_number_of_threads_leaves_no_trace) {
  const Size size{77, 130};
  glmd::test::Random random(7);
  const auto values = random.vector(static_cast<std::size_t>(size.rows * size.cols), 1.0F);
  for (const Kind kind : kKinds) {
    CHECK(packed(source_of(values, size), kind, 1) == packed(source_of(values, size), kind, 5));
  }
}

TEST(all_source_types_and_row_strides_are_read) {
  const std::vector<float> values{1.0F, -2.0F, 99.0F, 0.5F, 4.0F, 99.0F};  // 99: not in the matrix
  std::vector<std::uint16_t> halves;
  std::vector<std::uint16_t> bfloats;
  for (const float value : values) {
    halves.push_back(float_to_half(value));
    bfloats.push_back(static_cast<std::uint16_t>(float_to_bits(value) >> 16));
  }
  const std::vector<float> wanted{1.0F, -2.0F, 0.5F, 4.0F};
  for (const Source& source : {Source{values.data(), SourceType::f32, 2, 2, 12},
                               Source{halves.data(), SourceType::f16, 2, 2, 6},
                               Source{bfloats.data(), SourceType::bf16, 2, 2, 6}}) {
    CHECK(unpacked(packed(source, Kind::f16), Kind::f16, {2, 2}) == wanted);
  }
}

TEST(zeros_and_tiny_values_are_zero) {
  for (const float value : {0.0F, 1e-40F, -1e-38F}) {
    const std::vector<float> values(96, value);
    for (const Kind kind : kKinds) {
      for (const float back : unpacked(packed(source_of(values, {2, 48}), kind), kind, {2, 48})) {
        CHECK_EQ(back, 0.0F);
      }
    }
  }
}

TEST(values_that_do_not_fit_are_refused_by_row_and_column) {
  std::vector<float> values(20 * 40, 1.0F);
  values[13 * 40 + 7] = std::numeric_limits<float>::quiet_NaN();
  values[17 * 40 + 1] = std::numeric_limits<float>::infinity();
  for (const Kind kind : kKinds) {
    CHECK_THROWS(packed(source_of(values, {20, 40}), kind), std::invalid_argument,
                 "row 13, column 7");
  }
  values[13 * 40 + 7] = 70000.0F;
  values[17 * 40 + 1] = 1.0F;
  CHECK_THROWS(packed(source_of(values, {20, 40}), Kind::f16), std::invalid_argument, "row 13");
  CHECK_THROWS(packed(source_of(values, {20, 40}), Kind::rows_f16), std::invalid_argument,
               "row 13");
  packed(source_of(values, {20, 40}), Kind::int8);
  packed(source_of(values, {20, 40}), Kind::int4g32);
  values[13 * 40 + 7] = 1e6F;  // a scale of 125000
  CHECK_THROWS(packed(source_of(values, {20, 40}), Kind::int4g64), std::invalid_argument, "F16");
}

TEST(sizes_and_names_are_checked) {
  CHECK_THROWS(packed_bytes(Kind::f16, 0, 4), std::invalid_argument, "nothing to pack");
  CHECK_THROWS(kind_from_name("int3"), std::invalid_argument, "int3");
  CHECK(kind_from_name("int4g64") == Kind::int4g64);
  CHECK_EQ(packed_bytes(Kind::f16, 9, 5), 2U * 5 * 16);
  CHECK_EQ(packed_bytes(Kind::int8, 8, 33), 32U + 64 * 8);
  CHECK_EQ(packed_bytes(Kind::int4g32, 8, 33), 2U * 144);
  CHECK_EQ(packed_bytes(Kind::int4g64, 17, 65), 3U * 2 * 272);
  CHECK_EQ(packed_bytes(Kind::rows_f16, 3, 5), 30U);
}
