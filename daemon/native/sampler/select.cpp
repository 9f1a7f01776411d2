#include "sampler/select.h"

#include <algorithm>
#include <cstring>

#include "sampler/row.h"

namespace glmd::sampler {
namespace {

// A place as one integer, ascending with the ranking: cheaper to select by than key and index.
using Rank = std::uint64_t;

Rank rank(float key, std::size_t index) noexcept {
  const float unsigned_zero = key + 0.0F;  // -0 equals 0 and must not rank behind it
  std::uint32_t bits = 0;
  std::memcpy(&bits, &unsigned_zero, sizeof bits);
  bits = (bits >> 31) != 0 ? bits : ~bits & 0x7FFFFFFF;
  return (static_cast<Rank>(bits) << 32) | static_cast<std::uint32_t>(index);
}

std::uint32_t index_of(Rank rank) noexcept { return static_cast<std::uint32_t>(rank); }

Place place_of(Rank rank, const float* key) noexcept {
  return {key[index_of(rank)], index_of(rank)};
}

// The k best, in no particular order.
void top(const float* key, std::size_t n, std::size_t k, std::vector<Rank>& out) {
  out.clear();
  if (k == 0) return;
  // One pass keeps what beats the k-th best so far. Most blocks have nothing to offer and are
  // dismissed by one vectorised comparison; the list is cut back to k whenever it fills up.
  constexpr std::size_t kBlock = 32;
  const std::size_t capacity = 2 * k + 64;
  float bar = kOut;
  const auto cut = [&] {
    const auto kth = out.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(out.begin(), kth, out.end());
    bar = key[index_of(*kth)];
    out.resize(k);
  };
  for (std::size_t start = 0; start < n; start += kBlock) {
    const std::size_t end = std::min(n, start + kBlock);
    int any = 0;
    for (std::size_t i = start; i < end; ++i) any |= static_cast<int>(key[i] > bar);
    if (any == 0) continue;
    for (std::size_t i = start; i < end; ++i) {
      if (!(key[i] > bar)) continue;
      out.push_back(rank(key[i], i));
      if (out.size() == capacity) cut();
    }
  }
  if (out.size() > k) cut();
}

}  // namespace

std::vector<std::uint32_t> best(const float* key, std::size_t n, std::size_t k) {
  std::vector<Rank> ranks;
  top(key, n, std::min(k, n), ranks);
  std::sort(ranks.begin(), ranks.end());
  std::vector<std::uint32_t> indices(ranks.size());
  std::transform(ranks.begin(), ranks.end(), indices.begin(), index_of);
  return indices;
}

Place kth_best(const float* key, std::size_t n, std::size_t k) {
  thread_local std::vector<Rank> ranks;
  top(key, n, std::min(k, n), ranks);
  return place_of(*std::max_element(ranks.begin(), ranks.end()), key);
}

Place nucleus(const float* key, const float* x, std::size_t n, double p, Cut cut,
              std::size_t min_keep) {
  const float max = maximum(x, n);
  const double total = exp_sum(x, n, max);
  const double goal = p * total;
  const auto mass = [&](Rank r) { return static_cast<double>(exp_below(x[index_of(r)] - max)); };
  thread_local std::vector<Rank> ranks;
  const auto at = [&](std::size_t i) { return ranks.begin() + static_cast<std::ptrdiff_t>(i); };

  // A nucleus is mostly small: a short list tends to hold it, and if not, the list of all does.
  for (std::size_t k = std::min(n, std::max<std::size_t>(min_keep + 1, 256));; k = n) {
    top(key, n, k, ranks);
    const bool all = k == n || ranks.size() < k;
    // Whether the token in this place stays, when those before it have mass `before`.
    const auto stays = [&](std::size_t place, double before) {
      if (place < std::max<std::size_t>(min_keep, 1)) return true;
      if (cut == Cut::at_least) return before < goal;
      if (cut == Cut::above) return before <= goal;
      // The share of all tokens is 1, whatever rounding says.
      const double with = all && place + 1 == ranks.size() ? total : before + mass(ranks[place]);
      return with < goal;
    };
    // Halving: the token at `low` stays, those before it have mass `sum`, the one at `high` goes.
    std::size_t low = 0;
    std::size_t high = ranks.size();
    double sum = 0.0;
    while (high - low > 64) {
      const std::size_t middle = low + (high - low) / 2;
      std::nth_element(at(low), at(middle), at(high));
      double before = sum;
      for (std::size_t i = low; i < middle; ++i) before += mass(ranks[i]);
      if (stays(middle, before)) {
        low = middle;
        sum = before;
      } else {
        high = middle;
      }
    }
    std::sort(at(low), at(high));
    std::size_t last = low;
    for (sum += mass(ranks[last]); last + 1 < high && stays(last + 1, sum); ++last) {
      sum += mass(ranks[last + 1]);
    }
    if (all || last + 1 < ranks.size()) return place_of(ranks[last], key);
  }
}

}  // namespace glmd::sampler
