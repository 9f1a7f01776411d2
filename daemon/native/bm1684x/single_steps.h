// Steps of one span: the nets of the seed recipe and its like.
//
// A prompt is computed from its beginning by the prefill nets, all S positions at a time; behind
// it the decode nets take a token a step.
#pragma once

#include <vector>

#include "bm1684x/features.h"
#include "bm1684x/heads.h"
#include "bm1684x/kv_cache.h"
#include "bm1684x/masks.h"
#include "bm1684x/steps.h"

namespace glmd::bm1684x {

class SingleSteps final : public Steps {
 public:
  SingleSteps(Runtime& runtime, const Features& model, const Sizes& sizes);

  ModelInfo info() const override;
  Capabilities capabilities() const override;
  void run(const std::vector<Span>& spans, std::vector<Result>& results,
           const std::vector<int>& lengths, const CancelFlag& cancel) override;
  void copy(int from, int to, int n) override;
  void save(int slot, int n, std::uint8_t* to) override;
  void restore(int slot, int n, const std::uint8_t* from) override;

 private:
  // Working memory of one shape, on each device: ids in, states between the layers.
  struct Scratch {
    std::vector<DeviceMemory> ids;        // one for each input of the embedding
    std::vector<DeviceMemory> states[2];  // one layer's output is the next one's input
  };

  Scratch make_scratch(const Graph& embedding);
  void prefill(const Span& span, int set, const CancelFlag& cancel);
  void decode(const Span& span, int set, const CancelFlag& cancel);
  void embed(const Graph& embedding, const Scratch& scratch, const Span& span);
  std::vector<View> state(const Scratch& scratch, int layer) const;

  Runtime& runtime_;
  Features model_;
  int max_seq_;
  int vocab_;
  std::vector<int> sets_;  // of the cache: the one that each slot has
  KvCache cache_;
  int spare_;  // the set that no slot has: steps that replace something are computed there
  PrefillMask prefill_mask_;
  DecodeMasks decode_masks_;
  std::vector<DeviceMemory> positions_;  // 0..S-1 as int32, on each device
  Scratch prompt_;
  Scratch token_;
  Heads heads_;
};

}  // namespace glmd::bm1684x
