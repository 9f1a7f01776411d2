// Rows of logits of which only the greatest matter: what of them comes from the chip's candidates,
// and where the row itself is downloaded instead.
#include <cmath>
#include <limits>
#include <vector>

#include "bm1684x/backend.h"
#include "tests/check.h"
#include "tests/fake_rows.h"
#include "tests/fake_sophon.h"

using namespace glmd;
using namespace glmd::test;
using bm1684x::Bm1684xBackend;
using bm1684x::Options;

namespace {

const CancelFlag kGo{false};
constexpr float kOut = -std::numeric_limits<float>::infinity();
constexpr int kRowBytes = 4 * kRowVocab;
constexpr int kCandidateBytes = 8 * kCandidates;

Options options(int slots) {
  fake_sophon() = FakeSophon{};
  fake_sophon().rows = true;
  Options options;
  options.search.folder = GLMD_FAKE_SOPHON;
  options.devices = {0};
  options.path = "any.bmodel";
  options.sizes.slots = slots;
  options.trace = true;
  return options;
}

// One token at the beginning of a slot, and what is wanted behind it.
struct Asks {
  std::int32_t id;
  Want want = Want::logits;
  int keep = 0;
};

struct Answer {
  std::int32_t token;
  std::vector<float> logits;
};

// The n-th is of slot n.
std::vector<Answer> forward(Backend& backend, const std::vector<Asks>& asks) {
  std::vector<Span> spans;
  std::vector<Result> results(asks.size());
  std::vector<Answer> answers(asks.size());
  for (std::size_t i = 0; i < asks.size(); ++i) {
    spans.push_back({static_cast<int>(i), 0, &asks[i].id, 1, asks[i].want, {}, asks[i].keep});
    answers[i].logits.resize(kRowVocab);
    results[i].logits = answers[i].logits.data();
  }
  backend.forward(spans, results, kGo);
  for (std::size_t i = 0; i < asks.size(); ++i) answers[i].token = results[i].token;
  return answers;
}

std::vector<float> whole(std::int32_t best) {
  std::vector<float> row;
  for (int id = 0; id < kRowVocab; ++id) row.push_back(logit(id, best));
  return row;
}

std::vector<float> candidates(std::int32_t best) {
  std::vector<float> row(kRowVocab, kOut);
  for (int i = 0; i < kCandidates; ++i) {
    const std::int32_t id = (best + i) % kRowVocab;
    row[static_cast<std::size_t>(id)] = logit(id, best);
  }
  return row;
}

int launches(Bm1684xBackend& backend, const std::string& net) {
  int n = 0;
  for (const auto& step : backend.take_trace()) {
    for (const auto& launch : step.launches) n += launch.first == net ? 1 : 0;
  }
  return n;
}

}  // namespace

TEST(the_greatest_logits_are_the_candidates) {
  for (const int keep : {1, 2}) {
    Bm1684xBackend backend(options(2));
    const auto found = forward(backend, {{3, Want::logits, keep}, {6, Want::logits, keep}});
    CHECK(found[0].logits == candidates(tokens_after({3}).back()));
    CHECK(found[1].logits == candidates(tokens_after({6}).back()));
    CHECK_EQ(backend.traffic().downloads, 1);
    CHECK_EQ(backend.traffic().downloaded, 2 * kCandidateBytes);
    CHECK_EQ(backend.traffic().undecided, 0);
  }
}

TEST(what_may_equal_the_last_candidate_is_told_by_the_row) {
  Bm1684xBackend backend(options(2));
  const auto found = forward(backend, {{3, Want::logits, 3}, {6, Want::logits, 2}});
  CHECK(found[0].logits == whole(tokens_after({3}).back()));
  CHECK(found[1].logits == candidates(tokens_after({6}).back()));
  CHECK_EQ(backend.traffic().downloaded, 2 * kCandidateBytes + kRowBytes);
  CHECK_EQ(backend.traffic().undecided, 1);
}

TEST(more_than_there_are_candidates_is_the_row) {
  for (const int keep : {0, kCandidates, 1 << 20}) {
    Bm1684xBackend backend(options(2));
    const auto found = forward(backend, {{3, Want::logits, keep}, {6, Want::logits, keep}});
    CHECK(found[0].logits == whole(tokens_after({3}).back()));
    CHECK(found[1].logits == whole(tokens_after({6}).back()));
    CHECK_EQ(launches(backend, "top_head"), 0);
    CHECK_EQ(backend.traffic().undecided, 0);
  }
}

TEST(one_row_is_not_worth_the_launch) {
  Bm1684xBackend backend(options(3));
  const auto found =
      forward(backend, {{3, Want::logits, 2}, {6, Want::logits, 0}, {1, Want::token, 2}});
  CHECK(found[0].logits == whole(tokens_after({3}).back()));
  CHECK_EQ(launches(backend, "top_head"), 0);
}

TEST(everybody_in_a_step_gets_what_it_wants) {
  Bm1684xBackend backend(options(8));
  const std::vector<Asks> asks{{0, Want::logits, 1}, {1, Want::token, 0},  {2, Want::logits, 0},
                               {3, Want::logits, 3}, {4, Want::logits, 3}, {5, Want::none, 0},
                               {6, Want::logits, 2}, {7, Want::token, 0}};
  const auto found = forward(backend, asks);
  std::vector<std::int32_t> best;
  for (const Asks& one : asks) best.push_back(tokens_after({one.id}).back());
  CHECK(found[0].logits == candidates(best[0]));
  CHECK_EQ(found[1].token, best[1]);
  CHECK(found[2].logits == whole(best[2]));
  CHECK(found[3].logits == whole(best[3]));
  CHECK(found[4].logits == whole(best[4]));
  CHECK(found[6].logits == candidates(best[6]));
  CHECK_EQ(found[7].token, best[7]);
  CHECK_EQ(backend.traffic().undecided, 2);
  CHECK_EQ(launches(backend, "top_head"), 2);  // eight are two batches of four
}

TEST(greedy_tokens_launch_nothing_more) {
  Bm1684xBackend backend(options(2));
  forward(backend, {{0, Want::token, 0}, {1, Want::token, 5}});
  CHECK_EQ(launches(backend, "top_head"), 0);
}

TEST(a_row_without_numbers_is_handed_out_and_the_other_is_as_ever) {
  Bm1684xBackend backend(options(2));
  std::vector<std::uint16_t> spoilt(
      static_cast<std::size_t>(backend.capabilities().saved_bytes) / 2, kNan);
  backend.restore(0, 1, reinterpret_cast<const std::uint8_t*>(spoilt.data()));
  std::vector<float> rows(2 * kRowVocab);
  std::vector<Result> results(2);
  for (std::size_t i = 0; i < 2; ++i) results[i].logits = rows.data() + i * kRowVocab;
  const std::int32_t id = 3;
  backend.forward({{1, 0, &id, 1, Want::logits, {}, 2}, {0, 1, &id, 1, Want::logits, {}, 2}},
                  results, kGo);
  CHECK_EQ(launches(backend, "top_head"), 1);
  CHECK((std::vector<float>(rows.begin(), rows.begin() + kRowVocab) ==
         candidates(tokens_after({3}).back())));
  for (int i = 0; i < kRowVocab; ++i) CHECK(std::isnan(results[1].logits[i]));
}
