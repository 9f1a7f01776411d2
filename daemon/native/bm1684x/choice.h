// The most likely token, and whether what a chip chose is one.
#pragma once

#include <cstdint>

#include "bm1684x/runtime.h"

namespace glmd::bm1684x {

// What greedy_head chooses where no logit is a number, as seen on the simulator.
constexpr std::int32_t kChosenOfNone = 0;

// The id of the greatest of `vocab` logits, -1 where none is a number.
std::int32_t greatest(const float* logits, int vocab);

// `token` again. Throws Error where it is no id. `vocab`: 0 where that is not known.
std::int32_t checked_id(std::int32_t token, int vocab);

// `token` again, which was chosen on the first chip of these logits, and -1 where it is what is
// chosen for want of numbers. Throws Error where it is no id.
std::int32_t checked_choice(Runtime& runtime, std::int32_t token, const View& logits);

}  // namespace glmd::bm1684x
