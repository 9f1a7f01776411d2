// DRY, "don't repeat yourself": lowers the tokens that would prolong a repetition of the text's
// end, the more the longer the repetition already is (p-e-w, text-generation-webui pull request
// 5677).
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "sampler/stage.h"

namespace glmd::sampler {
namespace {

// The window read backwards: at(0) is the newest id.
struct Backwards {
  const std::int32_t* newest;
  std::size_t n;
  std::int32_t at(std::size_t i) const noexcept { return *(newest - i); }
};

// out[k]: how many ids from at(k) on equal those from at(0) on (the Z function), in linear time.
void match_lengths(const Backwards& text, std::vector<std::size_t>& out) {
  out.assign(text.n, 0);
  std::size_t left = 0;
  std::size_t right = 0;  // [left, right) is the furthest known copy of the beginning
  for (std::size_t k = 1; k < text.n; ++k) {
    std::size_t length = k < right ? std::min(right - k, out[k - left]) : 0;
    while (k + length < text.n && text.at(length) == text.at(k + length)) ++length;
    out[k] = length;
    if (k + length > right) {
      left = k;
      right = k + length;
    }
  }
}

class Dry final : public Stage {
 public:
  Dry(const Parameters& p, std::size_t vocab)
      : multiplier_(p.get<double>("multiplier")),
        base_(p.get<double>("base")),
        allowed_length_(static_cast<std::size_t>(p.get<std::int64_t>("allowed_length"))),
        last_n_(p.get<std::int64_t>("last_n")),
        breakers_(p.get<TokenSequences>("breakers")) {
    for (const auto& breaker : breakers_) {
      if (breaker.empty()) {
        throw std::invalid_argument("stage \"dry\": breakers holds an empty sequence");
      }
      for (const std::int32_t id : breaker) {
        if (id >= 0 && static_cast<std::size_t>(id) < vocab) continue;
        throw std::invalid_argument("stage \"dry\": breakers names token " + std::to_string(id) +
                                    ", outside the vocabulary of " + std::to_string(vocab));
      }
    }
    std::sort(breakers_.begin(), breakers_.end());
  }

  void apply(Candidates& candidates, const Turn& turn) const override {
    const std::size_t n = window(turn, last_n_);
    if (multiplier_ == 0.0 || n <= allowed_length_) return;
    const Backwards text{turn.history + turn.length - 1, n};
    const std::size_t limit = since_breaker(text);

    thread_local std::vector<std::size_t> lengths;
    thread_local Tally longest;  // by the token that would prolong it
    match_lengths(text, lengths);
    longest.clear(candidates.vocab());
    for (std::size_t k = 1; k < text.n; ++k) {
      const std::size_t length = std::min(lengths[k], limit);
      if (length < allowed_length_) continue;
      std::int32_t& best = longest[text.at(k - 1)];
      best = std::max(best, static_cast<std::int32_t>(length));
    }
    for (const std::int32_t id : longest.ids()) {
      float* logit = candidates.find(id);
      if (logit == nullptr || breaks_alone(id)) continue;
      const double excess = static_cast<double>(longest[id]) - static_cast<double>(allowed_length_);
      // Capped so that the logit stays a number: such a token is as good as gone either way.
      *logit -= static_cast<float>(std::min(multiplier_ * std::pow(base_, excess), 1e30));
    }
  }

 private:
  using Sequence = std::vector<std::int32_t>;

  // How many ids follow the last breaker of the text; a repetition does not reach across it.
  std::size_t since_breaker(const Backwards& text) const {
    for (std::size_t i = 0; i < text.n; ++i) {
      // Of breakers that match at one place each begins with the one before, so the last is
      // longest.
      auto it = std::lower_bound(breakers_.begin(), breakers_.end(), Sequence{text.at(i)});
      std::size_t matched = 0;
      for (; it != breakers_.end() && it->front() == text.at(i); ++it) {
        if (it->size() > i + 1) continue;
        std::size_t j = 1;
        while (j < it->size() && (*it)[j] == text.at(i - j)) ++j;
        if (j == it->size()) matched = j;
      }
      if (matched > 0) return i + 1 - matched;
    }
    return text.n;
  }

  bool breaks_alone(std::int32_t id) const {
    return std::binary_search(breakers_.begin(), breakers_.end(), Sequence{id});
  }

  double multiplier_, base_;
  std::size_t allowed_length_;
  std::int64_t last_n_;
  TokenSequences breakers_;  // ascending
};

}  // namespace

StageKind dry_kind() {
  return {"dry",
          {{"multiplier", 0.0, 0.0, 1e6},
           {"base", 1.75, 1.0, 1e3},
           {"allowed_length", std::int64_t{2}, 0, 1 << 20},
           {"last_n", std::int64_t{64}, -1, 1 << 20},
           {"breakers", TokenSequences{}}},
          [](const Parameters& p, std::size_t vocab) -> std::unique_ptr<Stage> {
            return std::make_unique<Dry>(p, vocab);
          }};
}

}  // namespace glmd::sampler
