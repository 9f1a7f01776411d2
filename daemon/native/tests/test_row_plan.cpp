// Which nets a step over many spans is carried out with.
#include <string>
#include <vector>

#include "bm1684x/row_plan.h"
#include "tests/check.h"

using namespace glmd;
using namespace glmd::bm1684x;

namespace {

const RowCounts kCounts{{64, 128, 256}, {16, 32, 64, 128}, {1, 2, 4, 8}};
const std::vector<std::int32_t> kIds(600, 7);

Span span(int slot, int pos, int n, Want want = Want::token) {
  return {slot, pos, kIds.data(), n, want, {}};
}

std::vector<Span> singles(int n) {
  std::vector<Span> spans;
  for (int slot = 0; slot < n; ++slot) spans.push_back(span(slot, 3 * slot, 1));
  return spans;
}

// E.g. "decode 8: 7, chunk 16: 1" for a batch of seven and a piece.
std::string words(const std::vector<Span>& spans, const RowCounts& counts = kCounts) {
  std::string text;
  for (const Pass& pass : plan_rows(spans, counts)) {
    const char* kinds[] = {"prefill", "chunk", "decode"};
    text += (text.empty() ? "" : ", ") + std::string(kinds[static_cast<int>(pass.kind)]) + " " +
            std::to_string(pass.rows) + ": " + std::to_string(pass.lanes.size());
  }
  return text;
}

}  // namespace

TEST(decodes_take_few_passes_and_then_few_rows) {
  CHECK_EQ(words(singles(1)), "decode 1: 1");
  CHECK_EQ(words(singles(3)), "decode 4: 3");
  CHECK_EQ(words(singles(7)), "decode 8: 7");
  CHECK_EQ(words(singles(9)), "decode 8: 8, decode 1: 1");
  CHECK_EQ(words(singles(12)), "decode 8: 8, decode 4: 4");
}

TEST(pieces_take_the_shortest_net_that_fits) {
  CHECK_EQ(words({span(0, 0, 64)}), "prefill 64: 1");
  CHECK_EQ(words({span(0, 0, 65)}), "prefill 128: 1");
  CHECK_EQ(words({span(0, 0, 200)}), "prefill 256: 1");
  CHECK_EQ(words({span(0, 0, 17)}), "chunk 32: 1");  // nothing shorter for a beginning
  CHECK_EQ(words({span(0, 9, 17)}), "chunk 32: 1");
  CHECK_EQ(words({span(0, 9, 2)}), "chunk 16: 1");
  CHECK_EQ(words({span(0, 0, 100)}, {{}, {16, 128}, {1}}), "chunk 128: 1");
  CHECK_EQ(words({span(0, 0, 100)}, {{64}, {16, 128}, {1}}), "chunk 128: 1");
  CHECK_EQ(words({span(0, 0, 300)}, {{256}, {16, 128}, {1}}), "prefill 256: 1, chunk 128: 1");
}

TEST(spans_of_a_slot_that_follow_each_other_are_one_piece) {
  const std::vector<Span> spans{span(1, 5, 1), span(0, 8, 1), span(1, 6, 1, Want::none),
                                span(1, 7, 3, Want::logits)};
  CHECK_EQ(words(spans), "decode 1: 1, chunk 16: 1");
  const Pass piece = plan_rows(spans, kCounts).back();
  CHECK_EQ(piece.lanes.front().tokens.size(), std::size_t{5});
  CHECK_EQ(piece.asked.size(), std::size_t{2});
  CHECK_EQ(piece.asked.front().row, 0);
  CHECK_EQ(piece.asked.front().span, std::size_t{0});
  CHECK_EQ(piece.asked.back().row, 4);
  CHECK_EQ(piece.asked.back().span, std::size_t{3});
}

TEST(what_no_net_takes_at_once_is_cut) {
  const std::vector<Span> spans{span(0, 0, 256), span(0, 256, 128), span(0, 384, 3)};
  CHECK_EQ(words(spans), "prefill 256: 1, chunk 128: 1, chunk 16: 1");
  const std::vector<Pass> passes = plan_rows(spans, kCounts);
  CHECK_EQ(passes[1].lanes.front().pos, 256);
  CHECK_EQ(passes[2].lanes.front().pos, 384);
  CHECK_EQ(passes[2].asked.front().row, 2);
}
