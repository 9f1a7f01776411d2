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
  return best;
}

std::int32_t checked_id(std::int32_t token, int vocab) {
  if (token >= 0 && (vocab == 0 || token < vocab)) return token;
  throw Error("forward", 0,
              "the chip chose token id " + std::to_string(token) +
                  ", which is none: the weights may be damaged");
}

std::int32_t checked_choice(Runtime& runtime, std::int32_t token, const View& logits) {
  const auto vocab = static_cast<int>(logits.memory.size / sizeof(float));
  if (checked_id(token, vocab) == kChosenOfNone) {
    float first = 0;
    runtime.download(0, &first, logits.part(0, sizeof first));
    if (std::isnan(first)) return -1;
  }
  return token;
}

}  // namespace glmd::bm1684x
