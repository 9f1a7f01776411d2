#include "bm1684x/choice.h"

#include <cmath>
#include <string>

#include "engine.h"

namespace glmd::bm1684x {

std::int32_t greatest(const float* logits, int vocab) {
  std::int32_t best = -1;
  for (std::int32_t i = 0; i < vocab; ++i) {
    if (!std::isnan(logits[i]) && (best < 0 || logits[i] > logits[best])) best = i;
  }
  if (best >= 0) return best;
  throw Error("forward", 0, "no logit is a number: the weights may be damaged");
}

std::int32_t checked_id(std::int32_t token, int vocab) {
  if (token >= 0 && (vocab == 0 || token < vocab)) return token;
  throw Error("forward", 0,
              "the chip chose token id " + std::to_string(token) +
                  ", which is none: the weights may be damaged");
}

}  // namespace glmd::bm1684x
