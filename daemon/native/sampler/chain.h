// A chain of stages, and the draw that ends it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sampler/parameters.h"
#include "sampler/stage.h"

namespace glmd::sampler {

using StageRequest = std::pair<std::string, std::map<std::string, Value>>;

class SamplerChain {
 public:
  // Stage `i` uses the random number of (seed, choice, token index, first_stage + i). Throws
  // std::invalid_argument for an unknown stage or parameter, or a value out of range.
  SamplerChain(std::size_t vocab, const std::vector<StageRequest>& stages, std::uint64_t seed,
               std::uint32_t choice, std::uint32_t first_stage);

  std::size_t vocab() const noexcept { return vocab_; }

  // Applies the stages to `logits`, float32 [vocab], in place; a token taken out of play is left at
  // -inf. `history`: ids so far, prompt first. Throws std::invalid_argument for a logit that is NaN
  // or +inf, when every logit is -inf, or for an id in the history that is outside the vocabulary.
  void apply(float* logits, const std::int32_t* history, std::size_t length,
             std::uint32_t index) const;

 private:
  std::size_t vocab_;
  DrawKey key_;  // of the first stage
  std::vector<std::unique_ptr<Stage>> stages_;
};

// Samples from softmax(logits) with the number of (seed, choice, index, kDrawStage). Throws
// std::invalid_argument for a logit that is NaN or +inf, or when every logit is -inf.
std::size_t draw(const float* logits, std::size_t vocab, std::uint64_t seed, std::uint32_t choice,
                 std::uint32_t index);

// Log-softmax of one token, and of the `k` most likely (ties: lower id first; tokens at -inf are
// left out). Throws std::invalid_argument as `draw` does.
struct TopLogprobs {
  double logprob = 0.0;
  std::vector<std::pair<std::int32_t, double>> top;
};
TopLogprobs top_logprobs(const float* logits, std::size_t vocab, std::size_t token, std::size_t k);

}  // namespace glmd::sampler
