#include "sampler/stage.h"

#include <algorithm>
#include <stdexcept>

namespace glmd::sampler {

const std::vector<StageKind>& stage_kinds() {
  static const std::vector<StageKind> kinds = {
      logit_bias_kind(), penalties_kind(), dry_kind(),   top_n_sigma_kind(), top_k_kind(),
      typical_kind(),    top_p_kind(),     min_p_kind(), xtc_kind(),         temperature_kind()};
  return kinds;
}

const StageKind& stage_kind(const std::string& name) {
  const auto& kinds = stage_kinds();
  const auto kind =
      std::find_if(kinds.begin(), kinds.end(), [&](const StageKind& k) { return k.name == name; });
  if (kind != kinds.end()) return *kind;
  std::string names;
  for (const StageKind& k : kinds) names += (names.empty() ? "" : ", ") + k.name;
  throw std::invalid_argument("there is no sampler stage \"" + name + "\"; the built-in ones are " +
                              names);
}

}  // namespace glmd::sampler
