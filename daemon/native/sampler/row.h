// Arithmetic on a row of logits. A logit of -inf marks a token that is out of play; NaN and +inf
// are no logits at all. Sums run in a fixed order, so equal rows give equal bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace glmd::sampler {

constexpr float kOut = -std::numeric_limits<float>::infinity();

// `value` where `keep`, else 0. A choice between bit patterns and not between numbers, because the
// compiler vectorises the one and must keep a branch for the other.
inline float masked(float value, bool keep) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  bits = keep ? bits : 0;
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

// exp(t) for t <= 0 within 2 ulp, 0 below e^-87.6: Cody-Waite reduction, the polynomial of Cephes'
// expf, and no branches.
inline float exp_below(float t) noexcept {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  std::uint32_t bits = 0;
  std::memcpy(&bits, &t, sizeof bits);
  constexpr std::uint32_t kMinus88 = 0xC2B00000;
  bits = bits < kMinus88 ? bits : kMinus88;  // negative numbers grow with their bit patterns
  float x = 0.0F;
  std::memcpy(&x, &bits, sizeof x);
  const float shifted = x * 1.44269504F + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
  float y = 1.9875691500e-4F;
  y = y * r + 1.3981999507e-3F;
  y = y * r + 8.3334519073e-3F;
  y = y * r + 4.1665795894e-2F;
  y = y * r + 1.6666665459e-1F;
  y = y * r + 5.0000001201e-1F;
  y = y * r * r + r + 1.0F;
  std::memcpy(&bits, &shifted, sizeof bits);  // its low bits hold n
  bits = (bits << 23) + 0x3F800000;           // those of 2^n, and of 0 for n = -127
  float scale = 0.0F;
  std::memcpy(&scale, &bits, sizeof scale);
  return y * scale;
}

// Throws std::invalid_argument, naming the token, when a logit is NaN or +inf.
void require_logits(const float* x, std::size_t n);

float maximum(const float* x, std::size_t n) noexcept;  // -inf for an empty row

// out[i] = exp(x[i] - max)
void exp_row(const float* x, std::size_t n, float max, float* out) noexcept;

// The sum of exp(x[i] - max).
double exp_sum(const float* x, std::size_t n, float max) noexcept;

// The index at which the running sum of exp(x[i] - max) passes u times the whole sum; u in [0, 1).
// At least one logit must be finite.
std::size_t sample(const float* x, std::size_t n, float max, double u);

// Of the tokens in play: how many, mean and (population) standard deviation of their logits.
struct Moments {
  std::size_t count = 0;
  double mean = 0.0;
  double deviation = 0.0;
};
Moments moments(const float* x, std::size_t n) noexcept;

}  // namespace glmd::sampler
