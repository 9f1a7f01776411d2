#include "bm1684x/check_spans.h"

#include <algorithm>
#include <map>
#include <string>

namespace glmd::bm1684x {
namespace {

std::string text(int n) { return std::to_string(n); }

// What a slot has when a span comes: its length, or where the span before it in the step ended.
struct End {
  int at;
  bool of_span;
};

class Check {
 public:
  Check(std::size_t index, const Span& span) : index_(index), span_(span) {}

  void slot(int slots) const {
    if (span_.slot >= 0 && span_.slot < slots) return;
    refuse("names slot " + text(span_.slot) + "; there are " + text(slots));
  }

  void place(const End& end, int max_seq) const {
    if (span_.n <= 0 || span_.tokens == nullptr) refuse("has no tokens");
    if (span_.pos < 0 || span_.n > max_seq - span_.pos) {
      refuse("puts " + text(span_.n) + " tokens at position " + text(span_.pos) + " of slot " +
             text(span_.slot) + ", which holds " + text(max_seq));
    }
    if (end.of_span && span_.pos != end.at) {
      refuse("starts at position " + text(span_.pos) + " of slot " + text(span_.slot) +
             ", where the span before it ends at " + text(end.at));
    }
    if (span_.pos > end.at) {
      refuse("starts at position " + text(span_.pos) + " of slot " + text(span_.slot) +
             ", which has only " + text(end.at));
    }
  }

  void size(const Capabilities& can) const {
    if (span_.n == 1) return;
    if (span_.pos > 0 && can.chunk_lengths.empty()) {
      refuse("puts " + text(span_.n) +
             " tokens behind others; this bmodel takes one at a time there");
    }
    const int most = (span_.pos > 0 ? can.chunk_lengths : can.prefill_lengths).back();
    if (span_.n > most) {
      refuse("has " + text(span_.n) + " tokens at position " + text(span_.pos) +
             "; this bmodel takes " + text(most) + " at once there");
    }
  }

  void tokens(int vocab) const {
    for (int t = 0; t < span_.n; ++t) {
      if (span_.tokens[t] >= 0 && span_.tokens[t] < vocab) continue;
      refuse("has token id " + text(span_.tokens[t]) + "; the vocabulary has " + text(vocab));
    }
  }

  void want(const std::vector<Want>& outputs, const Result& result) const {
    if (std::find(outputs.begin(), outputs.end(), span_.want) == outputs.end()) {
      refuse(std::string("wants ") + (span_.want == Want::logits ? "logits" : "candidates") +
             ", which this bmodel does not give");
    }
    if (span_.want == Want::logits && result.logits == nullptr) {
      refuse("wants logits but gives no room for them");
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& sentence) const {
    throw Error("forward", 0, "span " + std::to_string(index_) + " " + sentence);
  }

  std::size_t index_;
  const Span& span_;
};

}  // namespace

void check_spans(const std::vector<Span>& spans, const std::vector<Result>& results,
                 const ModelInfo& info, const Capabilities& can, const std::vector<int>& lengths) {
  if (results.size() != spans.size()) {
    throw Error("forward", 0,
                "there are " + std::to_string(spans.size()) + " spans but " +
                    std::to_string(results.size()) + " results");
  }
  std::map<int, End> ends;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    const Check check(i, span);
    check.slot(can.slots);
    const End held{lengths[static_cast<std::size_t>(span.slot)], false};
    check.place(ends.emplace(span.slot, held).first->second, info.max_seq);
    check.size(can);
    check.tokens(info.vocab);
    check.want(can.outputs, results[i]);
    ends.at(span.slot) = {span.pos + span.n, true};
  }
}

}  // namespace glmd::bm1684x
