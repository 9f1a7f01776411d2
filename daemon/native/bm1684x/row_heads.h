// From the states of several rows to what spans want of them.
#pragma once

#include <vector>

#include "bm1684x/row_features.h"
#include "bm1684x/row_plan.h"
#include "bm1684x/top_head.h"
#include "engine.h"

namespace glmd::bm1684x {

class RowHeads {
 public:
  RowHeads(Runtime& runtime, const RowFeatures& model);

  // Rows behind those asked for that may be read of the states too.
  int slack() const { return model_.lm_head.rbegin()->first - 1; }

  // `states`: of a pass, `asked` by row. Waits until all is there. Throws Error for an id outside
  // the vocabulary.
  void answer(const View& states, const std::vector<Asked>& asked, const std::vector<Span>& spans,
              std::vector<Result>& results);

 private:
  using Part = std::vector<Asked>;

  void answer_part(const View& states, const Part& part, const std::vector<Span>& spans,
                   std::vector<Result>& results);
  // Of row `at`, for a span that wants them; from candidates where those were `picked`.
  void logits(int at, const Span& span, bool picked, float* to);
  View row(int i) const;

  Runtime& runtime_;
  const RowFeatures& model_;
  DeviceMemory logits_;  // of as many rows as the longest head takes
  DeviceMemory ids_;
  TopHead top_;
};

}  // namespace glmd::bm1684x
