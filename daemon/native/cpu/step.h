// What one call of forward does, checked and laid out before anything is computed.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kv_cache.h"
#include "engine.h"

namespace glmd::cpu {

// One token to run through the model.
struct Row {
  int slot = 0;
  int pos = 0;
  std::int32_t token = 0;
  int output = -1;  // the span whose result is made from this row
};

// The positions [from, to) of a slot are written; it held `before` positions.
struct SlotChange {
  int slot = 0;
  int before = 0;
  int from = 0;
  int to = 0;
};

struct Step {
  std::vector<Row> rows;
  std::vector<SlotChange> changes;  // one per slot
};

// Throws Error, in a sentence, for a span that cannot be carried out.
Step plan_step(const std::vector<Span>& spans, const std::vector<Result>& results,
               const KvCache& cache, int vocab);

// Puts lengths and overwritten positions back unless the step commits.
class StepGuard {
 public:
  StepGuard(const Step& step, KvCache& cache);
  ~StepGuard();
  StepGuard(const StepGuard&) = delete;
  StepGuard& operator=(const StepGuard&) = delete;

  void commit();  // gives every slot its new length

 private:
  const Step& step_;
  KvCache& cache_;
  std::vector<std::vector<std::uint16_t>> saved_;  // per change: what it overwrites
  bool committed_ = false;
};

}  // namespace glmd::cpu
