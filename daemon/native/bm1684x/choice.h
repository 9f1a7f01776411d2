// The most likely token, and whether what a chip chose is one.
#pragma once

#include <cstdint>

namespace glmd::bm1684x {

// The id of the greatest of `vocab` logits. Throws Error where none is a number.
std::int32_t greatest(const float* logits, int vocab);

// `token` again. Throws Error where it is no id. `vocab`: 0 where that is not known.
std::int32_t checked_id(std::int32_t token, int vocab);

}  // namespace glmd::bm1684x
