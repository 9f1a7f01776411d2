#include "cpu/step.h"

#include <algorithm>
#include <string>

namespace glmd::cpu {
namespace {

[[noreturn]] void refuse(std::size_t span, const std::string& sentence) {
  throw Error("forward", 0, "span " + std::to_string(span) + " " + sentence);
}

void check_span(std::size_t i, const Span& span, const Result& result, const KvCache& cache,
                int vocab) {
  const auto text = [](int n) { return std::to_string(n); };
  if (span.slot < 0 || span.slot >= cache.slots()) {
    refuse(i, "names slot " + text(span.slot) + "; there are " + text(cache.slots()));
  }
  if (span.n <= 0 || span.tokens == nullptr) refuse(i, "has no tokens");
  if (span.pos < 0 || span.n > cache.max_seq() - span.pos) {
    refuse(i, "puts " + text(span.n) + " tokens at position " + text(span.pos) + " of slot " +
                  text(span.slot) + ", which holds " + text(cache.max_seq()));
  }
  for (int t = 0; t < span.n; ++t) {
    if (span.tokens[t] < 0 || span.tokens[t] >= vocab) {
      refuse(i, "has token id " + text(span.tokens[t]) + "; the vocabulary has " + text(vocab));
    }
  }
  if (span.want == Want::candidates) {
    refuse(i, "wants candidates, which the CPU backend does not offer");
  }
  if (span.want == Want::logits && result.logits == nullptr) {
    refuse(i, "wants logits but gives no room for them");
  }
}

}  // namespace

Step plan_step(const std::vector<Span>& spans, const std::vector<Result>& results,
               const KvCache& cache, int vocab) {
  if (results.size() != spans.size()) {
    throw Error("forward", 0,
                "there are " + std::to_string(spans.size()) + " spans but " +
                    std::to_string(results.size()) + " results");
  }
  Step step;
  std::vector<int> change_of(static_cast<std::size_t>(cache.slots()), -1);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    check_span(i, span, results[i], cache, vocab);
    int& change = change_of[static_cast<std::size_t>(span.slot)];
    if (change < 0) {
      const int length = cache.length(span.slot);
      if (span.pos > length) {
        refuse(i, "starts at position " + std::to_string(span.pos) + " of slot " +
                      std::to_string(span.slot) + ", which has only " + std::to_string(length));
      }
      change = static_cast<int>(step.changes.size());
      step.changes.push_back({span.slot, length, span.pos, span.pos});
    }
    SlotChange& slot = step.changes[static_cast<std::size_t>(change)];
    if (span.pos != slot.to) {
      refuse(i, "starts at position " + std::to_string(span.pos) + " of slot " +
                    std::to_string(span.slot) + ", but the span before it ends at " +
                    std::to_string(slot.to));
    }
    slot.to += span.n;
    for (int t = 0; t < span.n; ++t) {
      step.rows.push_back({span.slot, span.pos + t, span.tokens[t], -1});
    }
    if (span.want != Want::none) step.rows.back().output = static_cast<int>(i);
  }
  return step;
}

StepGuard::StepGuard(const Step& step, KvCache& cache) : step_(step), cache_(cache) {
  for (const SlotChange& change : step.changes) {
    const int end = std::min(change.before, change.to);
    saved_.push_back(cache.save(change.slot, change.from, end));
  }
}

StepGuard::~StepGuard() {
  if (committed_) return;
  for (std::size_t i = 0; i < saved_.size(); ++i) {
    const SlotChange& change = step_.changes[i];
    const int end = std::min(change.before, change.to);
    cache_.restore(change.slot, change.from, end, saved_[i]);
  }
}

void StepGuard::commit() {
  for (const SlotChange& change : step_.changes) cache_.set_length(change.slot, change.to);
  committed_ = true;
}

}  // namespace glmd::cpu
