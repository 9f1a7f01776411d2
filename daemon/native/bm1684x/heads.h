// From a hidden state to what a span wants of it: logits, a token, or candidates.
#pragma once

#include <vector>

#include "bm1684x/features.h"
#include "engine.h"

namespace glmd::bm1684x {

class Heads {
 public:
  Heads(Runtime& runtime, const Features& model);

  std::vector<Want> outputs() const;

  // `hidden`: the state of the last token, on each device. Waits until the answer is there. Throws
  // Error for an id outside the vocabulary.
  void answer(const std::vector<View>& hidden, const Span& span, Result& result);

 private:
  void launch_lm_head(const std::vector<View>& hidden);
  std::int32_t token();
  void candidates(const HeadSettings& settings, Result& result);

  Runtime& runtime_;
  const Features& model_;
  std::vector<DeviceMemory> lm_out_;       // logits, or the id where lm_head gives that
  DeviceMemory token_;                     // what greedy_head gives
  std::vector<DeviceMemory> penalty_in_;   // but for the logits, in the net's order
  std::vector<DeviceMemory> penalty_out_;  // probabilities, ids
};

}  // namespace glmd::bm1684x
