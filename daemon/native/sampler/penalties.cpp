// Stages that raise or lower single logits.
#include <algorithm>
#include <limits>
#include <stdexcept>

#include "sampler/row.h"
#include "sampler/stage.h"

namespace glmd::sampler {
namespace {

constexpr double kLowest = std::numeric_limits<float>::lowest();

// logit += bias, for tokens the request names.
class LogitBias final : public Stage {
 public:
  LogitBias(const Parameters& p, std::size_t vocab) : bias_(p.get<TokenBias>("bias")) {
    for (const auto& item : bias_) {
      if (item.first >= 0 && static_cast<std::size_t>(item.first) < vocab) continue;
      throw std::invalid_argument("stage \"logit_bias\": bias names token " +
                                  std::to_string(item.first) + ", outside the vocabulary of " +
                                  std::to_string(vocab));
    }
  }

  void apply(Candidates& candidates, const Turn& /*turn*/) const override {
    for (const auto& item : bias_) {
      if (float* logit = candidates.find(item.first)) *logit += static_cast<float>(item.second);
    }
  }

 private:
  TokenBias bias_;
};

// Of the last_n ids: once a token, logit ÷ repeat (× where negative: Keskar et al., "CTRL", 2019,
// with the usual correction for the sign); then logit -= count · frequency + presence.
class Penalties final : public Stage {
 public:
  Penalties(const Parameters& p, std::size_t /*vocab*/)
      : repeat_(p.get<double>("repeat")),
        frequency_(p.get<double>("frequency")),
        presence_(p.get<double>("presence")),
        last_n_(p.get<std::int64_t>("last_n")) {}

  void apply(Candidates& candidates, const Turn& turn) const override {
    if (repeat_ == 1.0 && frequency_ == 0.0 && presence_ == 0.0) return;
    thread_local Tally counts;
    counts.clear(candidates.vocab());
    for (std::size_t i = turn.length - window(turn, last_n_); i < turn.length; ++i) {
      ++counts[turn.history[i]];
    }
    for (const std::int32_t id : counts.ids()) {
      float* logit = candidates.find(id);
      if (logit == nullptr) continue;
      if (*logit == kOut) continue;
      auto x = static_cast<double>(*logit);
      x = x < 0.0 ? x * repeat_ : x / repeat_;
      x -= counts[id] * frequency_ + presence_;
      *logit = static_cast<float>(std::clamp(x, kLowest, -kLowest));  // in play it stays
    }
  }

 private:
  double repeat_, frequency_, presence_;
  std::int64_t last_n_;
};

}  // namespace

StageKind logit_bias_kind() {
  return {"logit_bias",
          {{"bias", TokenBias{}, -1e3, 1e3}},
          [](const Parameters& p, std::size_t vocab) -> std::unique_ptr<Stage> {
            return std::make_unique<LogitBias>(p, vocab);
          }};
}

StageKind penalties_kind() {
  return {"penalties",
          {{"repeat", 1.0, 1e-3, 1e3},
           {"frequency", 0.0, -1e3, 1e3},
           {"presence", 0.0, -1e3, 1e3},
           {"last_n", std::int64_t{64}, -1, 1 << 20}},
          [](const Parameters& p, std::size_t vocab) -> std::unique_ptr<Stage> {
            return std::make_unique<Penalties>(p, vocab);
          }};
}

}  // namespace glmd::sampler
