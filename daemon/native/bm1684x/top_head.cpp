#include "bm1684x/top_head.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace glmd::bm1684x {
namespace {

constexpr float kOut = -std::numeric_limits<float>::infinity();
constexpr std::size_t kItem = 4;  // bytes of a value, and of an id

template <class T>
std::vector<T> items(const std::vector<std::uint8_t>& bytes, std::size_t offset, std::size_t n) {
  std::vector<T> found(n);
  std::memcpy(found.data(), bytes.data() + offset, n * sizeof(T));
  return found;
}

}  // namespace

TopHead::TopHead(Runtime& runtime, const RowFeatures& model)
    : runtime_(runtime), model_(model), count_(static_cast<std::size_t>(model.candidates)) {
  if (model.top_head.empty()) return;
  const auto most = static_cast<std::size_t>(model.top_head.rbegin()->first);
  host_.resize(2 * most * count_ * kItem);
  memory_ = runtime.allocate(0, host_.size());
}

bool TopHead::serves(const Span& span, int rows) const {
  return span.want == Want::logits && span.keep > 0 &&
         static_cast<std::size_t>(span.keep) < count_ && model_.top_head.count(rows) > 0;
}

void TopHead::launch(int rows, const View& logits) {
  bytes_ = static_cast<std::size_t>(rows) * count_ * kItem;
  runtime_.launch(model_.top_head.at(rows), {logits},
                  {memory_.part(0, bytes_), memory_.part(bytes_, bytes_)});
}

void TopHead::download() { runtime_.download(0, host_.data(), memory_.part(0, 2 * bytes_)); }

bool TopHead::fill(int row, int keep, float* logits) const {
  const std::size_t offset = static_cast<std::size_t>(row) * count_ * kItem;
  const auto values = items<float>(host_, offset, count_);
  const auto ids = items<std::int32_t>(host_, bytes_ + offset, count_);
  if (!decide(values, ids, keep)) return false;
  std::fill(logits, logits + model_.vocab, kOut);
  for (std::size_t i = 0; i < count_; ++i) logits[ids[i]] = values[i];
  return true;
}

// What is not among the candidates is no greater than the last of them, and may equal it.
bool TopHead::decide(const std::vector<float>& values, const std::vector<std::int32_t>& ids,
                     int keep) const {
  for (std::size_t i = 0; i < count_; ++i) {
    const bool descends = i == 0 ? !std::isnan(values[0]) : values[i] <= values[i - 1];
    if (!descends || ids[i] < 0 || ids[i] >= model_.vocab) return false;
  }
  return values[static_cast<std::size_t>(keep) - 1] > values.back();
}

}  // namespace glmd::bm1684x
