// Each kernel of each instruction set against the definition of what it computes, in double, and
// against itself in other tiles.
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/half.h"
#include "cpu/kernels.h"
#include "cpu/packing.h"
#include "cpu/shape.h"
#include "tests/check.h"
#include "tests/random.h"

using namespace glmd::cpu;
using glmd::test::Random;

namespace {

std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> kernels{&portable_kernels()};
  if (avx2_kernels() != nullptr) kernels.push_back(avx2_kernels());
  return kernels;
}

// Rows of activations and their quantised form, padded like the model's.
struct Tokens {
  Tokens(int count, int columns, Random& random, const Kernels& kernels)
      : stride(padded(columns)), x(static_cast<std::size_t>(count) * stride, 0.0F) {
    const std::size_t n = static_cast<std::size_t>(count);
    for (std::size_t t = 0; t < n; ++t) {
      for (std::size_t k = 0; k < static_cast<std::size_t>(columns); ++k) {
        x[t * stride + k] = random.uniform(-3, 3);
      }
    }
    q.resize(x.size());
    scale.resize(x.size() / 32);
    sum.resize(x.size() / 32);
    kernels.quantise(x.data(), x.size(), q.data(), scale.data(), sum.data());
  }
  QuantisedRows rows(std::size_t first = 0) {
    return {q.data() + first * stride, scale.data() + first * stride / 32,
            sum.data() + first * stride / 32, stride, stride / 32};
  }
  double quantised(std::size_t t, std::size_t k) const {
    const std::size_t i = t * stride + k;
    return static_cast<double>(scale[i / 32]) * q[i];
  }

  std::size_t stride;
  std::vector<float> x;
  std::vector<std::int8_t> q;
  std::vector<float> scale;
  std::vector<std::int32_t> sum;
};

struct Packed {
  Packed(Kind kind, int rows, int columns, Random& random)
      : kind(kind),
        rows(rows),
        columns(columns),
        bytes(packed_bytes(kind, rows, columns)),
        values(static_cast<std::size_t>(rows * columns)) {
    const auto source = random.vector(values.size(), 1.0F);
    ThreadPool pool(1);
    pack({source.data(), SourceType::f32, rows, columns, columns * 4}, kind, pool, bytes.data());
    unpack(bytes.data(), kind, rows, columns, pool, values.data());
  }
  double at(int row, std::size_t k) const {
    return row < rows ? values[static_cast<std::size_t>(row * columns) + k] : 0.0;
  }

  Kind kind;
  int rows;
  int columns;
  std::vector<std::uint8_t> bytes;
  std::vector<float> values;
};

// `groups` row groups from group `from`, for `count` tokens from token `first`.
std::vector<float> product(const Kernels& kernels, Tokens& tokens, std::size_t first, int count,
                           const Packed& w, int from, int groups) {
  const std::size_t out_stride = static_cast<std::size_t>(groups) * 8 + 3;
  std::vector<float> out(static_cast<std::size_t>(count) * out_stride, -1.0F);
  const std::size_t bytes = group_bytes(w.kind, w.columns);
  const std::uint8_t* data = w.bytes.data() + static_cast<std::size_t>(from) * bytes;
  const auto columns = static_cast<std::size_t>(w.columns);
  const QuantisedRows rows = tokens.rows(first);
  switch (w.kind) {
    case Kind::f16:
      kernels.dot_half(tokens.x.data() + first * tokens.stride, tokens.stride, count,
                       {reinterpret_cast<const std::uint16_t*>(data), bytes / 2, 8}, groups,
                       columns, out.data(), out_stride);
      break;
    case Kind::int8:
      kernels.dot_int8(rows, count, data, groups, columns, out.data(), out_stride);
      break;
    case Kind::int4g32:
      kernels.dot_int4g32(rows, count, data, groups, columns, out.data(), out_stride);
      break;
    default:
      kernels.dot_int4g64(rows, count, data, groups, columns, out.data(), out_stride);
  }
  return out;
}

constexpr Kind kKinds[] = {Kind::f16, Kind::int8, Kind::int4g32, Kind::int4g64};

}  // namespace

TEST(products_are_sums_of_products) {
  Random random(10);
  for (const Kernels* kernels : all_kernels()) {
    for (const Kind kind : kKinds) {
      for (const int columns : {1, 31, 32, 64, 100, 257}) {
        Tokens tokens(7, columns, random, *kernels);
        const Packed w(kind, 43, columns, random);
        const auto out = product(*kernels, tokens, 0, 7, w, 0, 6);
        for (std::size_t t = 0; t < 7; ++t) {
          for (int row = 0; row < 48; ++row) {
            double wanted = 0.0;
            double size = 1e-9;
            for (std::size_t k = 0; k < static_cast<std::size_t>(columns); ++k) {
              const double x =
                  kind == Kind::f16 ? tokens.x[t * tokens.stride + k] : tokens.quantised(t, k);
              wanted += x * w.at(row, k);
              size += std::fabs(x * w.at(row, k));
            }
            const double got = out[t * 51 + static_cast<std::size_t>(row)];
            CHECK_LE(std::fabs(got - wanted), 2e-6 * size);
          }
        }
      }
    }
  }
}

TEST(a_product_has_the_same_bits_in_any_tile) {
  Random random(11);
  for (const Kernels* kernels : all_kernels()) {
    for (const Kind kind : kKinds) {
      const int columns = 160;
      Tokens tokens(17, columns, random, *kernels);
      const Packed w(kind, 88, columns, random);
      const auto whole = product(*kernels, tokens, 0, 17, w, 0, 11);
      for (int trial = 0; trial < 200; ++trial) {
        const int first = random.below(17);
        const int count = 1 + random.below(17 - first);
        const int from = random.below(11);
        const int groups = 1 + random.below(11 - from);
        const auto part =
            product(*kernels, tokens, static_cast<std::size_t>(first), count, w, from, groups);
        for (int t = 0; t < count; ++t) {
          CHECK(std::memcmp(&part[static_cast<std::size_t>(t * (groups * 8 + 3))],
                            &whole[static_cast<std::size_t>((first + t) * 91 + from * 8)],
                            static_cast<std::size_t>(groups) * 8 * sizeof(float)) == 0);
        }
      }
    }
  }
}

TEST(nothing_is_written_beyond_the_rows) {
  Random random(12);
  for (const Kernels* kernels : all_kernels()) {
    for (const Kind kind : kKinds) {
      Tokens tokens(5, 64, random, *kernels);
      const Packed w(kind, 40, 64, random);
      const auto out = product(*kernels, tokens, 0, 5, w, 0, 5);
      for (std::size_t t = 0; t < 5; ++t) {
        for (std::size_t i = 40; i < 43; ++i) CHECK_EQ(out[t * 43 + i], -1.0F);
      }
    }
  }
}

TEST(the_largest_quants_do_not_overflow) {
  // All weights -8 or -127 and 7 or 127, all activations ±127: the extremes of the integer sums.
  const int columns = 128;
  for (const Kernels* kernels : all_kernels()) {
    for (const Kind kind : {Kind::int8, Kind::int4g32, Kind::int4g64}) {
      for (const float sign : {1.0F, -1.0F}) {
        Random random(13);
        Tokens tokens(1, columns, random, *kernels);
        for (float& x : tokens.x) x = 127.0F;
        kernels->quantise(tokens.x.data(), tokens.x.size(), tokens.q.data(), tokens.scale.data(),
                          tokens.sum.data());
        Packed w(kind, 8, columns, random);
        const std::vector<float> source(w.values.size(), sign * 8.0F);
        ThreadPool pool(1);
        pack({source.data(), SourceType::f32, 8, columns, columns * 4}, kind, pool, w.bytes.data());
        const auto out = product(*kernels, tokens, 0, 1, w, 0, 1);
        const float wanted = sign * 8.0F * 127.0F * static_cast<float>(columns);
        CHECK_LE(std::fabs(out[0] - wanted), 1e-5F * std::fabs(wanted));
      }
    }
  }
}

TEST(activations_quantise_to_the_nearest_of_127_steps) {
  Random random(14);
  for (const Kernels* kernels : all_kernels()) {
    Tokens tokens(3, 128, random, *kernels);
    for (std::size_t i = 0; i < 32; ++i) tokens.x[i] = 0.0F;
    tokens.x[40] = -50.0F;
    kernels->quantise(tokens.x.data(), tokens.x.size(), tokens.q.data(), tokens.scale.data(),
                      tokens.sum.data());
    for (std::size_t block = 0; block < tokens.x.size() / 32; ++block) {
      float largest = 0.0F;
      std::int32_t sum = 0;
      for (std::size_t i = block * 32; i < block * 32 + 32; ++i) {
        largest = std::fmax(largest, std::fabs(tokens.x[i]));
        sum += tokens.q[i];
        const double error = tokens.x[i] - static_cast<double>(tokens.scale[block]) * tokens.q[i];
        CHECK_LE(std::fabs(error), 0.5001 * static_cast<double>(tokens.scale[block]));
        CHECK(tokens.q[i] >= -127);
      }
      CHECK_EQ(tokens.scale[block], largest / 127.0F);
      CHECK_EQ(tokens.sum[block], sum);
    }
    CHECK_EQ(static_cast<int>(tokens.q[40]), -127);
  }
}

TEST(rms_norm_divides_by_the_root_of_the_mean_square) {
  Random random(15);
  std::vector<float> x = random.vector(128, 3.0F);
  std::vector<float> weight = random.vector(128, 1.0F);
  std::fill(x.begin() + 100, x.end(), 0.0F);
  std::fill(weight.begin() + 100, weight.end(), 0.0F);
  std::vector<float> out(128, -1.0F);
  double squares = 0.0;
  for (const float value : x) squares += static_cast<double>(value) * value;
  for (const Kernels* kernels : all_kernels()) {
    kernels->rms_norm(x.data(), weight.data(), 1e-5F, 100, 128, out.data());
    for (std::size_t i = 0; i < 128; ++i) {
      const double wanted = x[i] / std::sqrt(squares / 100 + 1e-5) * weight[i];
      CHECK_LE(std::fabs(out[i] - wanted), 2e-6);
    }
  }
}

TEST(silu_is_x_times_the_logistic_function) {
  std::vector<float> gate;
  for (float x = -100.0F; x <= 100.0F; x += 0.03125F) gate.push_back(x);
  gate.resize(gate.size() / 8 * 8);
  const std::vector<float> up(gate.size(), 2.0F);
  std::vector<float> out(gate.size());
  for (const Kernels* kernels : all_kernels()) {
    kernels->silu_mul(gate.data(), up.data(), gate.size(), out.data());
    for (std::size_t i = 0; i < gate.size(); ++i) {
      const double x = gate[i];
      const double wanted = 2.0 * x / (1.0 + std::exp(-x));
      CHECK_LE(std::fabs(out[i] - wanted), 1e-6 * std::fabs(wanted) + 1e-30);
    }
  }
}

TEST(softmax_of_a_tile_leaves_out_what_lies_behind) {
  Random random(16);
  for (const Kernels* kernels : all_kernels()) {
    for (const int count : {1, 7, 8, 33, 64}) {
      std::vector<float> scores = random.vector(64, 20.0F);
      for (std::size_t i = static_cast<std::size_t>(count); i < 64; ++i) scores[i] = std::nanf("");
      const std::vector<float> before = scores;
      const TileStats stats = kernels->softmax_tile(scores.data(), count, 64);
      float largest = before[0];
      for (int i = 0; i < count; ++i)
        largest = std::fmax(largest, before[static_cast<std::size_t>(i)]);
      CHECK_EQ(stats.max, largest);
      double total = 0.0;
      for (std::size_t i = 0; i < 64; ++i) {
        const float below = before[i] - largest;  // the kernel's only other rounding
        const bool seen = i < static_cast<std::size_t>(count);
        const double wanted = seen ? std::exp(static_cast<double>(below)) : 0.0;
        CHECK_LE(std::fabs(scores[i] - wanted), 1e-6 * wanted);
        total += wanted;
      }
      CHECK_LE(std::fabs(stats.sum - total), 1e-6 * total);
    }
  }
}

TEST(add_and_blend) {
  for (const Kernels* kernels : all_kernels()) {
    std::vector<float> x{1, 2, 3, 4, 5, 6, 7, 8};
    const std::vector<float> y{10, 20, 30, 40, 50, 60, 70, 80};
    kernels->add(x.data(), y.data(), 8);
    CHECK(x == (std::vector<float>{11, 22, 33, 44, 55, 66, 77, 88}));
    kernels->blend(x.data(), 2.0F, y.data(), 0.5F, 8);
    CHECK(x == (std::vector<float>{27, 54, 81, 108, 135, 162, 189, 216}));
  }
}
