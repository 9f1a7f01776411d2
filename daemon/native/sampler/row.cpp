#include "sampler/row.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

namespace glmd::sampler {
namespace {

constexpr std::size_t kLanes = 16;  // independent accumulators, a multiple of any vector width
constexpr std::size_t kBlock = 256;

// The sum by kLanes independent accumulators.
template <typename T>
double lane_sum(const T* x, std::size_t n) noexcept {
  std::array<double, kLanes> lane{};
  const std::size_t whole = n - n % kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t j = 0; j < kLanes; ++j) lane[j] += static_cast<double>(x[i + j]);
  }
  for (std::size_t i = whole; i < n; ++i) lane[i - whole] += static_cast<double>(x[i]);
  double sum = 0.0;
  for (const double part : lane) sum += part;
  return sum;
}

// One block's share of exp_sum; n <= kBlock.
double exp_block(const float* x, std::size_t n, float max) noexcept {
  std::array<float, kBlock> e;
  int any = 0;
  for (std::size_t i = 0; i < n; ++i) any |= static_cast<int>(x[i] - max > -88.0F);
  if (any == 0) return 0.0;
  exp_row(x, n, max, e.data());
  return lane_sum(e.data(), n);
}

}  // namespace

void require_logits(const float* x, std::size_t n) {
  int bad = 0;
  for (std::size_t i = 0; i < n; ++i) {
    bad |= static_cast<int>(!(x[i] <= std::numeric_limits<float>::max()));
  }
  if (bad == 0) return;
  for (std::size_t i = 0; i < n; ++i) {
    if (x[i] <= std::numeric_limits<float>::max()) continue;
    throw std::invalid_argument("the logit of token " + std::to_string(i) + " is " +
                                (std::isnan(x[i]) ? "NaN" : "+inf"));
  }
}

float maximum(const float* x, std::size_t n) noexcept {
  float best = kOut;
  for (std::size_t start = 0; start < n; start += kBlock) {
    const std::size_t end = std::min(n, start + kBlock);
    int any = 0;  // most blocks have nothing greater, which is quickly told
    for (std::size_t i = start; i < end; ++i) any |= static_cast<int>(x[i] > best);
    if (any != 0) best = *std::max_element(x + start, x + end);
  }
  return best;
}

void exp_row(const float* x, std::size_t n, float max, float* out) noexcept {
  for (std::size_t i = 0; i < n; ++i) out[i] = exp_below(x[i] - max);
}

double exp_sum(const float* x, std::size_t n, float max) noexcept {
  double sum = 0.0;
  for (std::size_t i = 0; i < n; i += kBlock) sum += exp_block(x + i, std::min(kBlock, n - i), max);
  return sum;
}

std::size_t sample(const float* x, std::size_t n, float max, double u) {
  thread_local std::vector<double> blocks;
  blocks.clear();
  double sum = 0.0;
  for (std::size_t i = 0; i < n; i += kBlock) {
    blocks.push_back(exp_block(x + i, std::min(kBlock, n - i), max));
    sum += blocks.back();
  }
  std::size_t last = blocks.size() - 1;  // the last block with any mass: rounding must not pass it
  while (blocks[last] == 0.0) --last;
  double left = u * sum;
  std::size_t block = 0;
  while (block < last && left >= blocks[block]) left -= blocks[block++];
  const std::size_t end = std::min(n, (block + 1) * kBlock);
  std::size_t chosen = block * kBlock;
  for (std::size_t i = block * kBlock; i < end; ++i) {
    const auto mass = static_cast<double>(exp_below(x[i] - max));
    if (mass == 0.0) continue;
    chosen = i;
    if (left < mass) break;
    left -= mass;
  }
  return chosen;
}

Moments moments(const float* x, std::size_t n) noexcept {
  Moments m;
  for (std::size_t i = 0; i < n; ++i) m.count += x[i] > kOut ? 1U : 0U;
  if (m.count == 0) return m;
  std::array<double, kBlock> value;
  for (std::size_t start = 0; start < n; start += kBlock) {
    const std::size_t length = std::min(kBlock, n - start);
    for (std::size_t i = 0; i < length; ++i) {
      value[i] = static_cast<double>(masked(x[start + i], x[start + i] > kOut));
    }
    m.mean += lane_sum(value.data(), length);
  }
  m.mean /= static_cast<double>(m.count);
  double squares = 0.0;
  for (std::size_t start = 0; start < n; start += kBlock) {
    const std::size_t length = std::min(kBlock, n - start);
    for (std::size_t i = 0; i < length; ++i) {
      const bool in = x[start + i] > kOut;
      const double d = static_cast<double>(masked(x[start + i], in)) - m.mean;
      value[i] = in ? d * d : 0.0;
    }
    squares += lane_sum(value.data(), length);
  }
  m.deviation = std::sqrt(squares / static_cast<double>(m.count));
  return m;
}

}  // namespace glmd::sampler
