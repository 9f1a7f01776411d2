// Choosing the best few of many without sorting the many. Tokens rank by a key, the greatest first;
// among equal keys the lower index comes first, so every choice is unique.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace glmd::sampler {

// A place in the ranking. "Up to" it are the tokens with a greater key, and those with an equal key
// and no higher index.
struct Place {
  float key;
  std::uint32_t index;
};

// The indices of the k best keys above -inf (fewer where there are fewer), the best first.
std::vector<std::uint32_t> best(const float* key, std::size_t n, std::size_t k);

// The place of the k-th best key, k >= 1; of the last one above -inf where there are fewer. At
// least one must be.
Place kth_best(const float* key, std::size_t n, std::size_t k);

// Where a nucleus ends, once its cumulative share of the probability reaches `p`.
enum class Cut : std::uint8_t {
  at_least,  // with the token that brings the share to p or above
  above,     // with the token that brings the share above p
  below,     // before that token: the share stays below p
};

// The last place of the shortest prefix, by rank of `key`, that holds a share `p` of softmax(x); at
// least `min_keep` tokens and never none. A key is -inf where x is; at least one is not.
Place nucleus(const float* key, const float* x, std::size_t n, double p, Cut cut,
              std::size_t min_keep);

}  // namespace glmd::sampler
