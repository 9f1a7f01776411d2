// Random numbers that are a function of what they are for: no state, so any number can be drawn
// again, in any order, by any process.
#pragma once

#include <array>
#include <cstdint>

namespace glmd::sampler {

using Counter = std::array<std::uint32_t, 4>;
using Key = std::array<std::uint32_t, 2>;

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC
// '11).
inline Counter philox4x32(Counter counter, Key key) noexcept {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

// The use of one random number: which request, which of its answers, which token of that answer,
// which stage of the chain.
struct DrawKey {
  std::uint64_t seed = 0;
  std::uint32_t choice = 0;
  std::uint32_t index = 0;
  std::uint32_t stage = 0;
};

// The stage number of the draw that ends every chain.
constexpr std::uint32_t kDrawStage = 0xFFFFFFFF;

// Uniform in [0, 1) with 53 random bits: the key is the seed, the counter (index, choice, stage,
// 0).
inline double uniform(const DrawKey& use) noexcept {
  const Counter bits = philox4x32(
      {use.index, use.choice, use.stage, 0},
      {static_cast<std::uint32_t>(use.seed), static_cast<std::uint32_t>(use.seed >> 32)});
  const std::uint64_t word = (static_cast<std::uint64_t>(bits[1]) << 32) | bits[0];
  return static_cast<double>(word >> 11) * 0x1p-53;
}

}  // namespace glmd::sampler
