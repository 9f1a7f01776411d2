// Stages that take tokens out of play, and temperature.
#include <algorithm>
#include <cmath>
#include <limits>

#include "sampler/row.h"
#include "sampler/select.h"
#include "sampler/stage.h"

namespace glmd::sampler {
namespace {

template <typename T>
std::unique_ptr<Stage> make(const Parameters& p, std::size_t /*vocab*/) {
  return std::make_unique<T>(p);
}

Parameter min_keep() { return {"min_keep", std::int64_t{0}, 0, 1 << 20}; }

std::size_t get_min_keep(const Parameters& p) {
  return static_cast<std::size_t>(p.get<std::int64_t>("min_keep"));
}

// The place behind every token whose logit is not lower than this.
Place at_least(double logit) {
  const double lowest = std::numeric_limits<float>::lowest();
  return {static_cast<float>(std::max(logit, lowest)), std::numeric_limits<std::uint32_t>::max()};
}

// Keeps logits of at least max - n·σ (Tang et al., "Top-nσ", 2024); 0 disables.
class TopNSigma final : public Stage {
 public:
  explicit TopNSigma(const Parameters& p) : n_(p.get<double>("n")) {}

  void apply(Candidates& candidates, const Turn& /*turn*/) const override {
    if (n_ == 0.0) return;
    const float* x = candidates.logits();
    const double deviation = moments(x, candidates.size()).deviation;
    const double max = maximum(x, candidates.size());
    candidates.keep(x, at_least(max - n_ * deviation));
  }

 private:
  double n_;
};

// Keeps the k greatest logits (Fan et al., 2018); 0 disables.
class TopK final : public Stage {
 public:
  explicit TopK(const Parameters& p) : k_(static_cast<std::size_t>(p.get<std::int64_t>("k"))) {}

  void apply(Candidates& candidates, const Turn& /*turn*/) const override {
    if (k_ > 0) candidates.keep_top(k_);
  }

 private:
  std::size_t k_;
};

// Locally typical sampling (Meister et al., 2022): keeps the tokens whose surprise is closest to
// the entropy, until they hold more than p of the probability; 1 disables.
class Typical final : public Stage {
 public:
  explicit Typical(const Parameters& p) : p_(p.get<double>("p")), min_keep_(get_min_keep(p)) {}

  void apply(Candidates& candidates, const Turn& /*turn*/) const override {
    if (p_ >= 1.0) return;
    const float* x = candidates.logits();
    const std::size_t n = candidates.size();
    const float max = maximum(x, n);
    const double total = exp_sum(x, n, max);
    thread_local std::vector<float> closeness;
    closeness.resize(n);
    exp_row(x, n, max, closeness.data());
    double mean = 0.0;  // the expected logit below max: entropy = log(total) - mean
    for (std::size_t i = 0; i < n; ++i) {
      if (closeness[i] == 0.0F) continue;  // and x[i] - max perhaps -inf
      mean += static_cast<double>(closeness[i]) * static_cast<double>(x[i] - max);
    }
    mean /= total;
    // A token's surprise is log(total) - below, so its distance from the entropy is |below - mean|.
    for (std::size_t i = 0; i < n; ++i) {
      const double distance = std::abs(static_cast<double>(x[i] - max) - mean);
      closeness[i] = static_cast<float>(-distance);  // -inf for a token that is out of play
    }
    const Place last = nucleus(closeness.data(), x, n, p_, Cut::above, min_keep_);
    candidates.keep(closeness.data(), last);
  }

 private:
  double p_;
  std::size_t min_keep_;
};

// Keeps the most likely tokens until they hold p of the probability (Holtzman et al., 2020). The
// token that reaches p stays when `inclusive`, as in llama.cpp; else the share stays below p, as in
// the vendor's penalty_sample_head. 1 disables the inclusive kind.
class TopP final : public Stage {
 public:
  explicit TopP(const Parameters& p)
      : p_(p.get<double>("p")),
        min_keep_(get_min_keep(p)),
        cut_(p.get<bool>("inclusive") ? Cut::at_least : Cut::below) {}

  void apply(Candidates& candidates, const Turn& /*turn*/) const override {
    if (p_ >= 1.0 && cut_ == Cut::at_least) return;
    const float* x = candidates.logits();
    candidates.keep(x, nucleus(x, x, candidates.size(), p_, cut_, min_keep_));
  }

 private:
  double p_;
  std::size_t min_keep_;
  Cut cut_;
};

// Keeps tokens at least p times as likely as the likeliest (Nguyen et al., 2024); 0 disables.
class MinP final : public Stage {
 public:
  explicit MinP(const Parameters& p) : p_(p.get<double>("p")), min_keep_(get_min_keep(p)) {}

  void apply(Candidates& candidates, const Turn& /*turn*/) const override {
    if (p_ == 0.0) return;
    const float* x = candidates.logits();
    const std::size_t n = candidates.size();
    const double max = maximum(x, n);
    Place last = at_least(max + std::log(p_));
    if (min_keep_ > 0) {
      const Place required = kth_best(x, n, min_keep_);
      if (required.key < last.key) last = required;
    }
    candidates.keep(x, last);
  }

 private:
  double p_;
  std::size_t min_keep_;
};

// "Exclude top choices" (p-e-w, text-generation-webui pull request 6335): with this probability,
// of the tokens at or above the threshold only the least likely stays.
class Xtc final : public Stage {
 public:
  explicit Xtc(const Parameters& p)
      : probability_(p.get<double>("probability")),
        threshold_(p.get<double>("threshold")),
        min_keep_(get_min_keep(p)) {}

  void apply(Candidates& candidates, const Turn& turn) const override {
    // Above one half no two tokens can pass the threshold.
    if (probability_ == 0.0 || threshold_ > 0.5 || uniform(turn.key) >= probability_) return;
    float* x = candidates.logits();
    const std::size_t n = candidates.size();
    const float max = maximum(x, n);
    const double bar = max + std::log(threshold_ * exp_sum(x, n, max));
    std::size_t in_play = 0;
    std::size_t passing = 0;
    std::size_t least = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (x[i] == kOut) continue;
      ++in_play;
      if (static_cast<double>(x[i]) < bar) continue;
      if (passing++ == 0 || x[i] <= x[least]) least = i;
    }
    if (passing < 2 || in_play - (passing - 1) < min_keep_) return;
    for (std::size_t i = 0; i < n; ++i) {
      if (i != least && static_cast<double>(x[i]) >= bar) x[i] = kOut;
    }
  }

 private:
  double probability_, threshold_;
  std::size_t min_keep_;
};

// Divides the logits by t. At 0, or so close to it that the quotient overflows, only the greatest
// logit remains.
class Temperature final : public Stage {
 public:
  explicit Temperature(const Parameters& p)
      : temperature_(static_cast<float>(p.get<double>("temperature"))) {}

  void apply(Candidates& candidates, const Turn& /*turn*/) const override {
    float* x = candidates.logits();
    const std::size_t n = candidates.size();
    if (temperature_ == 0.0F || !std::isfinite(maximum(x, n) / temperature_)) {
      candidates.keep_top(1);
      return;
    }
    if (temperature_ == 1.0F) return;
    for (std::size_t i = 0; i < n; ++i) x[i] /= temperature_;
  }

 private:
  float temperature_;
};

}  // namespace

StageKind top_n_sigma_kind() { return {"top_n_sigma", {{"n", 0.0, 0.0, 1e6}}, make<TopNSigma>}; }

StageKind top_k_kind() { return {"top_k", {{"k", std::int64_t{50}, 0, 1 << 20}}, make<TopK>}; }

StageKind typical_kind() { return {"typical", {{"p", 1.0, 0.0, 1.0}, min_keep()}, make<Typical>}; }

StageKind top_p_kind() {
  return {"top_p", {{"p", 0.8, 0.0, 1.0}, min_keep(), {"inclusive", true}}, make<TopP>};
}

StageKind min_p_kind() { return {"min_p", {{"p", 0.0, 0.0, 1.0}, min_keep()}, make<MinP>}; }

StageKind xtc_kind() {
  return {
      "xtc", {{"probability", 0.0, 0.0, 1.0}, {"threshold", 0.1, 0.0, 1.0}, min_keep()}, make<Xtc>};
}

StageKind temperature_kind() {
  return {"temperature", {{"temperature", 0.8, 0.0, 1e6}}, make<Temperature>};
}

}  // namespace glmd::sampler
