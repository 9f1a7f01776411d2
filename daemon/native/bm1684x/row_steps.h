// Steps over rows of any conversations: the nets of the serve recipe.
//
// Spans are gathered into passes (row_plan.h), each of which goes through all layers. Keys and
// values stay where the pool has them; a net is given the addresses.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "bm1684x/kv_pool.h"
#include "bm1684x/row_features.h"
#include "bm1684x/row_heads.h"
#include "bm1684x/row_plan.h"
#include "bm1684x/step_inputs.h"
#include "bm1684x/steps.h"

namespace glmd::bm1684x {

class RowSteps final : public Steps {
 public:
  RowSteps(Runtime& runtime, const RowFeatures& model, const Sizes& sizes);

  ModelInfo info() const override;
  Capabilities capabilities() const override;
  void run(const std::vector<Span>& spans, std::vector<Result>& results,
           const std::vector<int>& lengths, const CancelFlag& cancel) override;
  void copy(int from, int to, int n) override { pool_.copy(from, to, n); }
  void save(int slot, int n, std::uint8_t* to) override { pool_.save(slot, n, to); }
  void restore(int slot, int n, const std::uint8_t* from) override { pool_.restore(slot, n, from); }

 private:
  using Nets = std::map<std::pair<RowKind, int>, StepInputs>;

  Nets make_inputs(Runtime& runtime) const;
  StepInputs& fill_inputs(const Pass& pass);
  void compute(const Pass& pass, const CancelFlag& cancel);
  void bind(const Pass& pass, int layer, std::vector<View>& inputs,
            std::vector<View>& outputs) const;
  View state(int layer) const { return states_[layer % 2].view(); }

  Runtime& runtime_;
  RowFeatures model_;
  int max_seq_;
  RowCounts counts_;
  KvPool pool_;
  Nets inputs_;
  RowHeads heads_;
  DeviceMemory states_[2];  // one layer's output is the next one's input
  DeviceMemory nowhere_;    // keys and values of rows that are padding in a decode
};

}  // namespace glmd::bm1684x
