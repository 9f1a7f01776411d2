// binary16 and bfloat16 conversions against the definitions of the formats.
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "cpu/half.h"
#include "cpu/kernels.h"
#include "tests/check.h"
#include "tests/random.h"

using namespace glmd::cpu;

namespace {

double value_of(std::uint16_t h) {
  const int exponent = h >> 10 & 31;
  const int mantissa = h & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (h & 0x8000) != 0 ? -magnitude : magnitude;
}

// The half nearest to x ≥ 0 by bisection; of two equally near ones the even.
std::uint16_t nearest(double x) {
  std::uint16_t low = 0;
  std::uint16_t high = 0x7C00;  // stands for 65536, whose upper half of the way is infinity
  while (high - low > 1) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    (value_of(middle) <= x ? low : high) = middle;
  }
  const double upper = high == 0x7C00 ? 65536.0 : value_of(high);
  const double below = x - value_of(low);
  const double above = upper - x;
  if (below != above) return below < above ? low : high;
  return low % 2 == 0 ? low : high;
}

std::vector<const Kernels*> all_kernels() {
  std::vector<const Kernels*> kernels{&portable_kernels()};
  if (avx2_kernels() != nullptr) kernels.push_back(avx2_kernels());
  return kernels;
}

}  // namespace

TEST(every_finite_half_survives_the_way_to_float_and_back) {
  for (int bits = 0; bits < 0x10000; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    if ((h & 0x7C00) == 0x7C00) continue;
    CHECK_EQ(static_cast<double>(half_to_float(h)), value_of(h));
    CHECK_EQ(float_to_half(half_to_float(h)), h);
  }
}

TEST(infinity_and_nan_are_kept) {
  CHECK(std::isinf(half_to_float(0x7C00)));
  CHECK(half_to_float(0xFC00) < 0.0F);
  CHECK(std::isnan(half_to_float(0x7E01)));
  CHECK_EQ(float_to_half(std::numeric_limits<float>::infinity()), 0x7C00);
  CHECK_EQ(float_to_half(1e6F), 0x7C00);
  CHECK(std::isnan(half_to_float(float_to_half(std::nanf("")))));
}

TEST(floats_round_to_the_nearest_half_and_ties_to_even) {
  glmd::test::Random random(1);
  std::vector<float> samples;
  for (std::uint16_t h = 0; h < 0x7BFF; h = static_cast<std::uint16_t>(h + 7)) {
    const double middle = (value_of(h) + value_of(static_cast<std::uint16_t>(h + 1))) / 2;
    const auto tie = static_cast<float>(middle);
    samples.insert(samples.end(), {tie, std::nextafter(tie, 0.0F), std::nextafter(tie, 1e9F)});
  }
  for (int i = 0; i < 20000; ++i)
    samples.push_back(std::ldexp(random.uniform(1, 2), random.below(46) - 30));
  samples.insert(samples.end(), {65504.0F, 65519.99F, 65520.0F});
  for (const float sample : samples) {
    CHECK_EQ(float_to_half(sample), nearest(sample));
    CHECK_EQ(float_to_half(-sample), nearest(sample) | 0x8000);
  }
}

TEST(the_kernels_convert_like_the_scalar_code_and_clamp) {
  glmd::test::Random random(2);
  std::vector<float> samples(4096);
  for (float& sample : samples) sample = std::ldexp(random.uniform(-2, 2), random.below(42) - 27);
  samples[5] = 1e9F;
  samples[6] = -1e9F;
  std::vector<std::uint16_t> halves(samples.size());
  for (const Kernels* kernels : all_kernels()) {
    kernels->to_half(samples.data(), samples.size(), halves.data());
    for (std::size_t i = 0; i < samples.size(); ++i) {
      const float clamped = std::fmin(std::fmax(samples[i], -kHalfMax), kHalfMax);
      CHECK_EQ(halves[i], float_to_half(clamped));
    }
  }
}

TEST(bfloat16_is_the_upper_half_of_a_float) {
  CHECK_EQ(bfloat_to_float(0x3F80), 1.0F);
  CHECK_EQ(bfloat_to_float(0xC040), -3.0F);
}
