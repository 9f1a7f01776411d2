#include "sampler/chain.h"

#include <cmath>
#include <stdexcept>

#include "sampler/row.h"
#include "sampler/select.h"

namespace glmd::sampler {
namespace {

// The greatest logit of a row that can be sampled from.
float require_maximum(const float* logits, std::size_t vocab) {
  require_logits(logits, vocab);
  const float max = maximum(logits, vocab);
  if (max == kOut) throw std::invalid_argument("no token is left: every logit is -inf");
  return max;
}

}  // namespace

SamplerChain::SamplerChain(std::size_t vocab, const std::vector<StageRequest>& stages,
                           std::uint64_t seed, std::uint32_t choice, std::uint32_t first_stage)
    : vocab_(vocab), key_{seed, choice, 0, first_stage} {
  if (vocab == 0) throw std::invalid_argument("the vocabulary of a sampler chain is empty");
  for (const StageRequest& request : stages) {
    const StageKind& kind = stage_kind(request.first);
    stages_.push_back(kind.make(complete(kind.name, kind.parameters, request.second), vocab));
  }
}

void SamplerChain::apply(float* logits, const std::int32_t* history, std::size_t length,
                         std::uint32_t index) const {
  require_maximum(logits, vocab_);
  thread_local Candidates candidates;
  candidates.reset(logits, vocab_);
  Turn turn{history, length, key_};
  turn.key.index = index;
  for (const auto& stage : stages_) {
    stage->apply(candidates, turn);
    ++turn.key.stage;
  }
  candidates.finish();
}

std::size_t draw(const float* logits, std::size_t vocab, std::uint64_t seed, std::uint32_t choice,
                 std::uint32_t index) {
  const float max = require_maximum(logits, vocab);
  return sample(logits, vocab, max, uniform({seed, choice, index, kDrawStage}));
}

TopLogprobs top_logprobs(const float* logits, std::size_t vocab, std::size_t token, std::size_t k) {
  const float max = require_maximum(logits, vocab);
  const double log_total = static_cast<double>(max) + std::log(exp_sum(logits, vocab, max));
  const auto logprob = [&](std::size_t id) { return static_cast<double>(logits[id]) - log_total; };
  TopLogprobs result{logprob(token), {}};
  for (const std::uint32_t id : best(logits, vocab, k)) {
    result.top.emplace_back(static_cast<std::int32_t>(id), logprob(id));
  }
  return result;
}

}  // namespace glmd::sampler
