#include "sampler/candidates.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "sampler/row.h"

namespace glmd::sampler {

void Candidates::reset(float* row, std::size_t vocab) {
  row_ = row;
  vocab_ = vocab;
  size_ = vocab;
  short_ = false;
  if (logits_.size() < vocab) {
    logits_.resize(vocab);
    ids_.resize(vocab);
  }
}

float* Candidates::find(std::int32_t id) noexcept {
  if (!short_) return row_ + id;
  const auto end = ids_.begin() + static_cast<std::ptrdiff_t>(size_);
  const auto it = std::lower_bound(ids_.begin(), end, id);
  return it != end && *it == id ? &logits_[static_cast<std::size_t>(it - ids_.begin())] : nullptr;
}

void Candidates::keep(const float* key, Place last) {
  const float* from = logits();
  // In place once the list is short: what is written lies never behind what is read next.
  std::size_t kept = 0;
  constexpr std::size_t kBlock = 32;
  for (std::size_t start = 0; start < size_; start += kBlock) {
    const std::size_t end = std::min(size_, start + kBlock);
    int any = 0;
    for (std::size_t i = start; i < end; ++i) any |= static_cast<int>(key[i] >= last.key);
    if (any == 0) continue;
    for (std::size_t i = start; i < end; ++i) {
      if (!(key[i] > last.key || (key[i] == last.key && i <= last.index))) continue;
      logits_[kept] = from[i];
      ids_[kept] = short_ ? ids_[i] : static_cast<std::int32_t>(i);
      ++kept;
    }
  }
  size_ = kept;
  short_ = true;
}

void Candidates::keep_top(std::size_t k) {
  if (k < size_) keep(logits(), kth_best(logits(), size_, k));
}

void Candidates::finish() {
  if (!short_) return;
  std::fill(row_, row_ + vocab_, kOut);
  for (std::size_t i = 0; i < size_; ++i) row_[ids_[i]] = logits_[i];
}

void Tally::clear(std::size_t vocab) {
  for (const std::int32_t id : ids_) values_[static_cast<std::size_t>(id)] = -1;
  ids_.clear();
  if (values_.size() < vocab) values_.resize(vocab, -1);
  vocab_ = vocab;
}

std::int32_t& Tally::operator[](std::int32_t id) {
  if (id < 0 || static_cast<std::size_t>(id) >= vocab_) {
    throw std::invalid_argument("the history holds token " + std::to_string(id) +
                                ", outside the vocabulary of " + std::to_string(vocab_));
  }
  std::int32_t& value = values_[static_cast<std::size_t>(id)];
  if (value < 0) {
    value = 0;
    ids_.push_back(id);
  }
  return value;
}

}  // namespace glmd::sampler
