#include "bm1684x/row_heads.h"

#include <algorithm>

#include "bm1684x/choice.h"

namespace glmd::bm1684x {
namespace {

// Rows whose greatest logits are worth a launch, which is taken to cost as much as the download of
// less than two rows of 65024 logits; card only.
constexpr int kWorthPicking = 2;

}  // namespace

RowHeads::RowHeads(Runtime& runtime, const RowFeatures& model)
    : runtime_(runtime),
      model_(model),
      logits_(runtime.allocate(0, model.lm_head.rbegin()->second.outputs.front().bytes)),
      ids_(runtime.allocate(
          0, sizeof(std::int32_t) * static_cast<std::size_t>(model.lm_head.rbegin()->first))),
      top_(runtime, model) {}

View RowHeads::row(int i) const {
  const std::size_t bytes = static_cast<std::size_t>(model_.vocab) * sizeof(float);
  return logits_.part(static_cast<std::size_t>(i) * bytes, bytes);
}

void RowHeads::answer(const View& states, const std::vector<Asked>& asked,
                      const std::vector<Span>& spans, std::vector<Result>& results) {
  if (asked.empty()) runtime_.wait();
  const int most = model_.lm_head.rbegin()->first;
  for (auto first = asked.begin(); first != asked.end();) {
    const auto end = std::find_if(first, asked.end(),
                                  [&](const Asked& one) { return one.row >= first->row + most; });
    answer_part(states, {first, end}, spans, results);
    first = end;
  }
}

void RowHeads::answer_part(const View& states, const Part& part, const std::vector<Span>& spans,
                           std::vector<Result>& results) {
  const int start = part.front().row;
  const int count = part.back().row - start + 1;
  const Graph& head = fitting(model_.lm_head, count);
  const std::size_t bytes = model_.state_bytes;
  runtime_.launch(head,
                  {states.part(static_cast<std::size_t>(start) * bytes,
                               static_cast<std::size_t>(head.rows()) * bytes)},
                  {logits_.view()});
  const bool tokens = std::any_of(part.begin(), part.end(), [&](const Asked& one) {
    return spans[one.span].want == Want::token;
  });
  const auto chooses = model_.greedy_head.find(head.rows());
  const bool on_chip = tokens && chooses != model_.greedy_head.end();
  if (on_chip) runtime_.launch(chooses->second, {logits_.view()}, {ids_.view()});
  const auto few = std::count_if(part.begin(), part.end(), [&](const Asked& one) {
    return top_.serves(spans[one.span], head.rows());
  });
  const bool picked = few >= kWorthPicking;
  if (picked) top_.launch(head.rows(), logits_.view());
  runtime_.wait();
  if (picked) top_.download();
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count), -1);
  if (on_chip) runtime_.download(0, ids.data(), ids_.part(0, ids.size() * sizeof(std::int32_t)));
  for (const Asked& one : part) {
    const int at = one.row - start;
    const Span& span = spans[one.span];
    Result& result = results[one.span];
    if (span.want == Want::logits) {
      logits(at, span, picked && top_.serves(span, head.rows()), result.logits);
    } else if (on_chip) {
      result.token = checked_choice(runtime_, ids[static_cast<std::size_t>(at)], row(at));
    } else {
      std::vector<float> logits(static_cast<std::size_t>(model_.vocab));
      runtime_.download(0, logits.data(), row(at));
      result.token = greatest(logits.data(), model_.vocab);
    }
  }
}

void RowHeads::logits(int at, const Span& span, bool picked, float* to) {
  if (picked) {
    if (top_.fill(at, span.keep, to)) return;
    runtime_.count_undecided();
  }
  runtime_.download(0, to, row(at));
}

}  // namespace glmd::bm1684x
