// Nets that compute rows of any conversations, for the stand-in for libbmrt: arithmetic in place of
// a model, in which the token after each depends on all tokens that its row sees, at their places.
// A NaN anywhere in a history spoils the row, hidden or not, as it does on a chip.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/fake_nets.h"

namespace glmd::test {

constexpr std::uint16_t kNan = 0x7E00;

// Positions, vocabulary, candidates of a row, and rows that there are nets for.
constexpr int kRowSeq = 12, kRowVocab = 8, kCandidates = 4;
inline const std::vector<int> kPrefillRows{4, 8}, kChunkRows{2, 4}, kDecodeRows{1, 2, 4};

void describe_rows(Nets& nets);
void compute_rows(const std::string& net, const bm1684x::sophon::Tensor* in,
                  bm1684x::sophon::Tensor* out);

// The most likely token behind each of these, computed at once.
std::vector<std::int32_t> tokens_after(const std::vector<std::int32_t>& ids);

// The logit of a token where `best` is the most likely one: 1, 0, -1, -1, -2, -2, -3, -3 from there
// on, so that the third equals the last candidate.
float logit(std::int32_t id, std::int32_t best);

}  // namespace glmd::test
