// The tokens still in play while a chain runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sampler/select.h"

namespace glmd::sampler {

// A chain starts on the caller's whole row. The first stage that cuts the tokens down leaves a
// short list, and the stages behind it cost next to nothing. Either way the tokens are in ascending
// order of their ids, `logits()` holds one number a token, and -inf there means out of play.
class Candidates {
 public:
  // `row` (float32 [vocab]) is changed in place until the first cut.
  void reset(float* row, std::size_t vocab);

  float* logits() noexcept { return short_ ? logits_.data() : row_; }
  std::size_t size() const noexcept { return size_; }
  std::size_t vocab() const noexcept { return vocab_; }

  // The logit of a token, or null when it is not among the candidates.
  float* find(std::int32_t id) noexcept;

  // Keeps the tokens up to a place in the ranking by `key`, which has one number a candidate.
  void keep(const float* key, Place last);
  void keep_top(std::size_t k);

  // Puts the outcome into the row: every token that was cut stands at -inf.
  void finish();

 private:
  float* row_ = nullptr;
  std::size_t vocab_ = 0;
  std::size_t size_ = 0;
  bool short_ = false;
  std::vector<float> logits_;  // the short list: the first size_ of each
  std::vector<std::int32_t> ids_;
};

// A number for each of a few tokens, 0 at first; clearing costs as little as filling did.
class Tally {
 public:
  void clear(std::size_t vocab);
  // Throws std::invalid_argument when the id is outside the vocabulary.
  std::int32_t& operator[](std::int32_t id);
  const std::vector<std::int32_t>& ids() const noexcept { return ids_; }  // in order of first use

 private:
  std::size_t vocab_ = 0;
  std::vector<std::int32_t> values_;  // -1 for every id that is not in ids_
  std::vector<std::int32_t> ids_;
};

}  // namespace glmd::sampler
