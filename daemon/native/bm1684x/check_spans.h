// Whether a step can be carried out, told before anything is touched.
#pragma once

#include <vector>

#include "engine.h"

namespace glmd::bm1684x {

// Throws Error naming the first span that cannot be, and why. `lengths`: positions that each slot
// holds.
void check_spans(const std::vector<Span>& spans, const std::vector<Result>& results,
                 const ModelInfo& info, const Capabilities& can, const std::vector<int>& lengths);

}  // namespace glmd::bm1684x
