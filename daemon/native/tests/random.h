// Reproducible numbers, the same on every machine: splitmix64
// (https://prng.di.unimi.it/splitmix64.c).
#pragma once

#include <cstdint>
#include <vector>

namespace glmd::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  int below(int n) { return static_cast<int>(bits() % static_cast<std::uint64_t>(n)); }
  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24F;
  }
  std::vector<float> vector(std::size_t n, float scale) {
    std::vector<float> values(n);
    for (float& value : values) value = uniform(-scale, scale);
    return values;
  }

 private:
  std::uint64_t state_;
};

}  // namespace glmd::test
