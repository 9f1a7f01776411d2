// Nets that compute rows of any conversations, on a stand-in whose memory is full of NaN: which
// rows of the pool they read and write, what they are told to see, and what goes up and down.
#include <random>
#include <vector>

#include "bm1684x/backend.h"
#include "tests/check.h"
#include "tests/fake_rows.h"
#include "tests/fake_sophon.h"

using namespace glmd;
using namespace glmd::test;
using bm1684x::Bm1684xBackend;
using bm1684x::Options;
using Ids = std::vector<std::int32_t>;

namespace {

const CancelFlag kGo{false};

FakeSophon& fresh() {
  FakeSophon& fake = fake_sophon();
  fake = FakeSophon{};
  fake.rows = true;
  return fake;
}

Options options(int slots) {
  Options options;
  options.search.folder = GLMD_FAKE_SOPHON;
  options.devices = {0};
  options.path = "any.bmodel";
  options.sizes.slots = slots;
  options.trace = true;
  return options;
}

// Some tokens of a conversation for a step.
struct Part {
  int slot, pos;
  Ids ids;
};

// The tokens that follow each.
Ids forward(Backend& backend, const std::vector<Part>& parts, Want want = Want::token) {
  std::vector<Span> spans;
  std::vector<Result> results(parts.size());
  std::vector<float> logits(parts.size() * kRowVocab);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    spans.push_back(
        {part.slot, part.pos, part.ids.data(), static_cast<int>(part.ids.size()), want, {}});
    results[i].logits = logits.data() + i * kRowVocab;
  }
  backend.forward(spans, results, kGo);
  Ids tokens;
  for (const Result& result : results) {
    std::int32_t token = result.token;
    for (int id = 0; want == Want::logits && id < kRowVocab; ++id) {
      if (result.logits[id] == 1.0F) token = id;
    }
    tokens.push_back(token);
  }
  return tokens;
}

Ids first(const Ids& ids, std::size_t n) {
  return {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n)};
}

void check_nothing_wrong() {
  for (const std::string& sentence : fake_sophon().wrong) fail(__FILE__, __LINE__, sentence);
  CHECK_EQ(fake_sophon().allocated, 0);
}

// A conversation that grows at random, and what the chip has of it.
struct Conversation {
  Ids ids;
  std::size_t done = 0;
};

}  // namespace

TEST(conversations_in_any_mix_are_as_each_alone) {
  for (const int slots : {1, 2, 5}) {
    fresh();
    {
      Bm1684xBackend backend(options(slots));
      std::mt19937 random(static_cast<unsigned>(slots));
      const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
      std::vector<Conversation> all(static_cast<std::size_t>(slots));
      for (int step = 0; step < 400; ++step) {
        std::vector<Part> parts;
        Ids expected;
        for (int slot = 0; slot < slots; ++slot) {
          Conversation& one = all[static_cast<std::size_t>(slot)];
          if (below(4) == 0) continue;
          if (one.done == kRowSeq || (one.done > 0 && below(10) == 0)) one.done = below(one.done);
          std::size_t n = 1 + below(one.done == 0 ? 8 : 4);
          n = below(2) == 0 ? 1 : std::min(n, kRowSeq - one.done);
          one.ids.resize(one.done);
          for (std::size_t i = 0; i < n; ++i) {
            one.ids.push_back(static_cast<std::int32_t>(below(kRowVocab)));
          }
          parts.push_back(
              {slot,
               static_cast<int>(one.done),
               {one.ids.begin() + static_cast<std::ptrdiff_t>(one.done), one.ids.end()}});
          expected.push_back(tokens_after(one.ids).back());
          one.done += n;
        }
        CHECK(forward(backend, parts, step % 3 == 0 ? Want::logits : Want::token) == expected);
      }
    }
    check_nothing_wrong();
  }
}

TEST(spans_of_one_slot_answer_for_each_of_their_tokens) {
  fresh();
  const Ids ids{1, 2, 3, 4, 5, 6, 7};
  Bm1684xBackend backend(options(2));
  forward(backend, {{0, 0, first(ids, 3)}});
  const Ids found = forward(backend, {{0, 3, {4}}, {1, 0, {1}}, {0, 4, {5}}, {0, 5, {6, 7}}});
  const Ids expected = tokens_after(ids);
  CHECK((found == Ids{expected[3], expected[0], expected[4], expected[6]}));
  CHECK_EQ(backend.length(0), 7);
  const auto trace = backend.take_trace();
  CHECK_EQ(trace.size(), std::size_t{3});
  CHECK_EQ(trace[0].name, "prefill 4");
  CHECK_EQ(trace[1].name, "decode 1");
  CHECK_EQ(trace[2].name, "chunk 4");
  CHECK_EQ(trace[2].launches.front().first, "embedding");
  CHECK_EQ(trace[2].launches.front().second, 4);
  CHECK_EQ(trace[2].launches.back().first, "greedy_head");
  CHECK_EQ(trace[2].launches.back().second, 4);
  CHECK(backend.take_trace().empty());
}

TEST(padding_at_the_last_position_has_room) {
  fresh();
  {
    const Ids ids{1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4};
    Bm1684xBackend backend(options(2));
    forward(backend, {{0, 0, first(ids, 8)}});
    forward(backend, {{0, 8, {1}}});
    CHECK((forward(backend, {{0, 9, {2, 3, 4}}}) == Ids{tokens_after(ids).back()}));
    CHECK_EQ(backend.length(0), 12);
    CHECK_EQ(backend.take_trace().back().name, "chunk 4");
  }
  check_nothing_wrong();
}

TEST(a_token_moves_its_entry_of_the_mask_its_id_and_its_position) {
  fresh();
  Bm1684xBackend backend(options(4));
  std::vector<Part> parts;
  for (int slot = 0; slot < 3; ++slot) {
    forward(backend, {{slot, 0, {1, 2, 3, 4}}});
    parts.push_back({slot, 4, {5}});
  }
  forward(backend, parts);
  for (Part& part : parts) part = {part.slot, 5, {6}};
  const auto before = backend.traffic();
  forward(backend, parts);
  const auto& after = backend.traffic();
  CHECK_EQ(after.launches - before.launches, 5);  // embedding, two layers, two heads
  // From the first id to the third row's entry: small gaps go up with what lies beside them.
  CHECK_EQ(after.uploads - before.uploads, 1);
  CHECK_EQ(after.uploaded - before.uploaded, 2 * 128 + 2 * (2 * (kRowSeq + 1) + 4 + 1));
  CHECK_EQ(after.downloads - before.downloads, 1);
  CHECK_EQ(after.downloaded - before.downloaded, 12);
  CHECK_EQ(after.copies, 0);
  CHECK_EQ(after.relocated, 0);
}

TEST(a_copy_goes_on_by_itself) {
  fresh();
  Bm1684xBackend backend(options(3));
  forward(backend, {{0, 0, {1, 2, 3, 4, 5, 6}}});
  forward(backend, {{2, 0, {7, 7, 7, 7, 7, 7, 7, 7}}});
  backend.copy_prefix(0, 2, 4);
  const Ids found = forward(backend, {{2, 4, {7}}, {0, 6, {0}}});
  CHECK((found ==
         Ids{tokens_after({1, 2, 3, 4, 7}).back(), tokens_after({1, 2, 3, 4, 5, 6, 0}).back()}));
}

TEST(a_conversation_goes_to_the_host_and_comes_back_to_another_slot) {
  fresh();
  Bm1684xBackend backend(options(3));
  forward(backend, {{0, 0, {1, 2, 3, 4, 5, 6}}, {1, 0, {7, 7, 7}}});
  std::vector<std::uint8_t> saved(6 * static_cast<std::size_t>(backend.capabilities().saved_bytes));
  backend.save(0, saved.data());
  forward(backend, {{0, 0, {0, 0, 0, 0, 0, 0, 0}}});
  backend.restore(2, 6, saved.data());
  CHECK_EQ(backend.length(2), 6);
  const Ids found = forward(backend, {{1, 3, {7}}, {2, 6, {0}}});
  CHECK((found ==
         Ids{tokens_after({7, 7, 7, 7}).back(), tokens_after({1, 2, 3, 4, 5, 6, 0}).back()}));
  CHECK_THROWS(backend.restore(2, kRowSeq + 1, saved.data()), Error, "takes 12 positions, not 13");
  CHECK_THROWS(backend.save(3, saved.data()), Error, "there is no slot 3");
}

TEST(a_conversation_finds_nothing_of_the_one_before_it) {
  fresh();
  Bm1684xBackend backend(options(3));
  forward(backend, {{1, 0, {1, 2, 3}}});
  const auto each = static_cast<std::size_t>(backend.capabilities().saved_bytes);
  std::vector<std::uint8_t> saved(3 * each);
  backend.save(1, saved.data());
  std::vector<std::uint16_t> broken(kRowSeq * each / 2, kNan);
  const auto broken_one_leaves = [&](int slot) {
    backend.restore(slot, kRowSeq, reinterpret_cast<const std::uint8_t*>(broken.data()));
    backend.truncate(slot, 0);
  };
  const Ids expected{tokens_after({1, 2, 3, 4}).back()};
  broken_one_leaves(0);
  forward(backend, {{0, 0, {1, 2, 3}}});
  CHECK(forward(backend, {{0, 3, {4}}}) == expected);
  broken_one_leaves(0);
  backend.copy_prefix(1, 0, 3);
  CHECK(forward(backend, {{0, 3, {4}}}) == expected);
  broken_one_leaves(0);
  backend.restore(0, 3, saved.data());
  CHECK(forward(backend, {{0, 3, {4}}}) == expected);
}

TEST(a_step_that_fails_anywhere_leaves_conversations_as_they_were) {
  const Ids ids{1, 2, 3, 4, 5, 6};
  for (const bool throws : {false, true}) {
    for (int n = 0; n < 10; ++n) {
      FakeSophon& fake = fresh();
      Bm1684xBackend backend(options(2));
      for (const int slot : {0, 1}) forward(backend, {{slot, 0, ids}});
      (throws ? fake.launches_until_throw : fake.launches_until_false) = n;
      CHECK_THROWS(forward(backend, {{0, 2, {7, 7, 7}}, {1, 1, {7}}}), Error,
                   throws ? "bmrt_launch_tensor_ex threw: it burns" : "does not launch net");
      CHECK_EQ(backend.length(0), 6);
      CHECK_EQ(backend.length(1), 6);
      const std::int32_t expected = tokens_after({1, 2, 3, 4, 5, 6, 0}).back();
      CHECK((forward(backend, {{0, 6, {0}}, {1, 6, {0}}}) == Ids{expected, expected}));
    }
  }
}

TEST(spans_that_do_not_follow_each_other_are_refused) {
  fresh();
  Bm1684xBackend backend(options(2));
  CHECK_THROWS(forward(backend, {{0, 0, {1, 2}}, {0, 1, {3}}}), Error,
               "span 1 starts at position 1 of slot 0, where the span before it ends at 2");
  CHECK_THROWS(forward(backend, {{0, 0, Ids(9, 1)}}), Error,
               "span 0 has 9 tokens at position 0; this bmodel takes 8 at once there");
  forward(backend, {{0, 0, {1, 2}}});
  CHECK_THROWS(forward(backend, {{0, 2, Ids(5, 1)}}), Error,
               "span 0 has 5 tokens at position 2; this bmodel takes 4 at once there");
}

TEST(a_chip_without_room_is_an_error_wherever_that_is_found) {
  for (int n = 0; n < 16; ++n) {
    FakeSophon& fake = fresh();
    fake.allocations_until_full = n;
    CHECK_THROWS(Bm1684xBackend(options(3)), Error, "has no room for another");
    CHECK_EQ(fake.opened, 0);
    CHECK_EQ(fake.allocated, 0);
  }
}

TEST(what_is_offered_follows_from_the_nets) {
  fresh();
  const Bm1684xBackend backend(options(3));
  const Capabilities can = backend.capabilities();
  CHECK(can.prefill == Prefill::chunks);
  CHECK((can.prefill_lengths == std::vector<int>{2, 4, 8}));
  CHECK(can.chunk_lengths == kChunkRows);
  CHECK(can.decode_batches == kDecodeRows);
  CHECK_EQ(can.slots, 3);
  CHECK_EQ(backend.info().max_seq, kRowSeq);
  CHECK_EQ(backend.info().layers, 2);
}
