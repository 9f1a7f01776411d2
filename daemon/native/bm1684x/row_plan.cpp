#include "bm1684x/row_plan.h"

#include <algorithm>
#include <map>

namespace glmd::bm1684x {
namespace {

// The spans of one slot as a single one.
struct Run {
  Lane lane;
  std::vector<Asked> asked;  // rows counted from its first token
};

std::vector<Run> runs_of(const std::vector<Span>& spans) {
  std::vector<Run> runs;
  std::map<int, std::size_t> of_slot;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    const auto [found, first] = of_slot.emplace(span.slot, runs.size());
    if (first) runs.push_back({{span.slot, span.pos, {}}, {}});
    Run& run = runs[found->second];
    run.lane.tokens.insert(run.lane.tokens.end(), span.tokens, span.tokens + span.n);
    if (span.want != Want::none) {
      run.asked.push_back({static_cast<int>(run.lane.tokens.size()) - 1, i});
    }
  }
  return runs;
}

// The smallest count that takes n rows, else the greatest.
int fitting(const std::vector<int>& counts, int n) {
  const auto found = std::lower_bound(counts.begin(), counts.end(), n);
  return found == counts.end() ? counts.back() : *found;
}

// A net for n tokens at position `pos`.
Pass choose_net(const RowCounts& counts, int pos, int n) {
  const int chunk = fitting(counts.chunk, n);
  if (pos > 0 || counts.prefill.empty()) return {RowKind::chunk, chunk, {}, {}};
  const int prefill = fitting(counts.prefill, n);
  // Where both fit alike, the one that reads no history.
  const bool shorter = chunk >= n && (chunk < prefill || prefill < n);
  const bool further = prefill < n && chunk > prefill;
  return shorter || further ? Pass{RowKind::chunk, chunk, {}, {}}
                            : Pass{RowKind::prefill, prefill, {}, {}};
}

void add_pieces(const Run& run, const RowCounts& counts, std::vector<Pass>& passes) {
  const int n = static_cast<int>(run.lane.tokens.size());
  for (int done = 0; done < n;) {
    const int pos = run.lane.pos + done;
    Pass pass = choose_net(counts, pos, n - done);
    const int end = std::min(done + pass.rows, n);
    const auto tokens = run.lane.tokens.begin();
    pass.lanes.push_back({run.lane.slot, pos, {tokens + done, tokens + end}});
    for (const Asked& asked : run.asked) {
      if (asked.row >= done && asked.row < end) {
        pass.asked.push_back({asked.row - done, asked.span});
      }
    }
    passes.push_back(std::move(pass));
    done = end;
  }
}

void add_decodes(const std::vector<Run>& singles, const std::vector<int>& widths,
                 std::vector<Pass>& passes) {
  for (std::size_t first = 0; first < singles.size();) {
    const int left = static_cast<int>(singles.size() - first);
    Pass pass{RowKind::decode, fitting(widths, left), {}, {}};
    const int n = std::min(left, pass.rows);
    for (int row = 0; row < n; ++row) {
      const Run& run = singles[first + static_cast<std::size_t>(row)];
      pass.lanes.push_back(run.lane);
      for (const Asked& asked : run.asked) pass.asked.push_back({row, asked.span});
    }
    passes.push_back(std::move(pass));
    first += static_cast<std::size_t>(n);
  }
}

}  // namespace

std::vector<Pass> plan_rows(const std::vector<Span>& spans, const RowCounts& counts) {
  std::vector<Pass> passes;
  std::vector<Run> singles;
  std::vector<Run> longer;
  for (Run& run : runs_of(spans)) {
    (run.lane.tokens.size() == 1 ? singles : longer).push_back(std::move(run));
  }
  add_decodes(singles, counts.decode, passes);
  for (const Run& run : longer) add_pieces(run, counts, passes);
  return passes;
}

}  // namespace glmd::bm1684x
