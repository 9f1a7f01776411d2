// The built-in stages of a sampler chain: llama.cpp's names, order and meaning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sampler/candidates.h"
#include "sampler/parameters.h"
#include "sampler/philox.h"

namespace glmd::sampler {

// What a stage may look at: the ids so far, prompt first, and the key of its own random number.
struct Turn {
  const std::int32_t* history = nullptr;
  std::size_t length = 0;
  DrawKey key;
};

// Stages hold parameters only; they may be applied to any row in any order.
class Stage {
 public:
  Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  virtual ~Stage() = default;

  // At least one candidate is in play. Throws std::invalid_argument for a history it cannot use.
  virtual void apply(Candidates& candidates, const Turn& turn) const = 0;
};

struct StageKind {
  std::string name;
  std::vector<Parameter> parameters;
  // Throws std::invalid_argument for token ids outside the vocabulary.
  std::unique_ptr<Stage> (*make)(const Parameters& parameters, std::size_t vocab);
};

// Every kind, in llama.cpp's default order.
const std::vector<StageKind>& stage_kinds();

// Throws std::invalid_argument when there is no such stage.
const StageKind& stage_kind(const std::string& name);

// How many of the last ids a stage looks at; `last_n` -1 means all.
inline std::size_t window(const Turn& turn, std::int64_t last_n) noexcept {
  const auto wanted = static_cast<std::size_t>(last_n);
  return last_n < 0 || wanted > turn.length ? turn.length : wanted;
}

StageKind logit_bias_kind();
StageKind penalties_kind();
StageKind dry_kind();
StageKind top_n_sigma_kind();
StageKind top_k_kind();
StageKind typical_kind();
StageKind top_p_kind();
StageKind min_p_kind();
StageKind xtc_kind();
StageKind temperature_kind();

}  // namespace glmd::sampler
