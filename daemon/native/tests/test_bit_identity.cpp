// The same logits, bit for bit, alone or in a batch of any make-up, in any prefill split, at any
// thread count, behind a copied or truncated prefix.
#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/backend.h"
#include "tests/check.h"
#include "tests/random.h"
#include "tests/random_model.h"

using namespace glmd;
using namespace glmd::test;
using cpu::CpuBackend;
using cpu::Kind;

namespace {

constexpr int kSlots = 5;
constexpr int kLength = 150;  // more than two attention tiles, and more than one pass of rows
const CancelFlag kGo{false};

using Logits = std::vector<std::vector<float>>;  // per position

struct Case {
  const cpu::Kernels* kernels;
  Kind kind;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const cpu::Kernels* kernels : all_kernels()) {
    for (const Kind kind : {Kind::f16, Kind::int8, Kind::int4g32, Kind::int4g64}) {
      all.push_back({kernels, kind});
    }
  }
  return all;
}

struct Sequence {
  std::vector<std::int32_t> tokens;
  Logits alone;  // one token at a time, one thread
};

std::vector<Sequence> references(const cpu::Weights& weights, const cpu::Kernels& kernels) {
  CpuBackend backend(weights, 1, kLength, 1, kernels);
  std::vector<Sequence> sequences;
  for (int s = 0; s < kSlots; ++s) {
    Sequence sequence;
    sequence.tokens = random_tokens(kLength - 13 * s, 77, static_cast<std::uint64_t>(100 + s));
    for (std::size_t i = 0; i < sequence.tokens.size(); ++i) {
      sequence.alone.push_back(append(backend, 0, static_cast<int>(i), {sequence.tokens[i]})[0]);
    }
    sequences.push_back(std::move(sequence));
    backend.release(0);
  }
  return sequences;
}

// Feeds all sequences in random steps: some slots in each, a random number of tokens of each, now
// and then in two spans, now and then going back some positions first.
void run_randomly(CpuBackend& backend, const std::vector<Sequence>& sequences, Random& random) {
  std::vector<int> fed(sequences.size(), 0);
  const auto left = [&](std::size_t s) {
    return static_cast<int>(sequences[s].tokens.size()) - fed[s];
  };
  for (bool done = false; !done;) {
    std::vector<Span> spans;
    std::vector<std::vector<float>> logits;
    std::vector<std::size_t> order(sequences.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[static_cast<std::size_t>(random.below(static_cast<int>(i)))]);
    }
    for (const std::size_t s : order) {
      if (left(s) == 0 || random.below(3) == 0) continue;
      if (random.below(6) == 0) fed[s] -= random.below(fed[s] + 1);
      for (int part = 0; part < 2 && left(s) > 0; ++part) {
        const int most = random.below(3) == 0 ? 70 : 4;
        const int n = 1 + random.below(std::min(most, left(s)));
        spans.push_back({static_cast<int>(s), fed[s], sequences[s].tokens.data() + fed[s], n,
                         random.below(4) == 0 ? Want::none : Want::logits});
        fed[s] += n;
      }
    }
    logits.assign(spans.size(), std::vector<float>(77));
    std::vector<Result> results(spans.size());
    for (std::size_t i = 0; i < spans.size(); ++i) results[i].logits = logits[i].data();
    backend.forward(spans, results, kGo);
    for (std::size_t i = 0; i < spans.size(); ++i) {
      if (spans[i].want != Want::logits) continue;
      const auto& alone = sequences[static_cast<std::size_t>(spans[i].slot)].alone;
      CHECK(logits[i] == alone[static_cast<std::size_t>(spans[i].pos + spans[i].n - 1)]);
    }
    done = true;
    for (std::size_t s = 0; s < sequences.size(); ++s) done = done && left(s) == 0;
  }
}

}  // namespace

TEST(any_split_batch_and_thread_count_gives_the_same_bits) {
  Random random(20);
  for (const Case& test : cases()) {
    const cpu::Weights weights = random_weights(odd_shape(), test.kind);
    const auto sequences = references(weights, *test.kernels);
    for (const int threads : {1, 2, 3, 7}) {
      CpuBackend backend(weights, kSlots, kLength, threads, *test.kernels);
      run_randomly(backend, sequences, random);
    }
  }
}

TEST(one_span_gives_what_single_tokens_give) {
  for (const Case& test : cases()) {
    const cpu::Weights weights = random_weights(odd_shape(), test.kind);
    const auto sequences = references(weights, *test.kernels);
    CpuBackend backend(weights, 1, kLength, 2, *test.kernels);
    CHECK(append(backend, 0, 0, sequences[0].tokens) == sequences[0].alone);
  }
}

TEST(a_copied_prefix_goes_on_like_its_source) {
  for (const Case& test : cases()) {
    const cpu::Weights weights = random_weights(odd_shape(), test.kind);
    const auto sequences = references(weights, *test.kernels);
    const auto& tokens = sequences[0].tokens;
    CpuBackend backend(weights, 2, kLength, 2, *test.kernels);
    append(backend, 0, 0, tokens);
    append(backend, 1, 0, sequences[1].tokens);
    for (const int n : {0, 1, 63, 64, 101}) {
      backend.copy_prefix(0, 1, n);
      const auto at = static_cast<std::size_t>(n);
      CHECK_EQ(backend.length(1), n);
      CHECK(append(backend, 1, n, {tokens[at]})[0] == sequences[0].alone[at]);
    }
  }
}

TEST(a_released_slot_starts_afresh) {
  const cpu::Weights weights = random_weights(odd_shape(), Kind::int8);
  const auto sequences = references(weights, cpu::best_kernels());
  CpuBackend backend(weights, 1, kLength, 2);
  append(backend, 0, 0, sequences[1].tokens);
  backend.release(0);
  CHECK(append(backend, 0, 0, sequences[0].tokens) == sequences[0].alone);
}

TEST(a_model_of_many_heads_in_one_group_is_no_exception) {
  cpu::Shape shape = odd_shape();
  shape.heads = 100;  // more rows of scores than a block of queries has
  shape.kv_heads = 1;
  shape.head_dim = 4;
  const cpu::Weights weights = random_weights(shape, Kind::f16);
  const auto sequences = references(weights, cpu::best_kernels());
  CpuBackend backend(weights, 1, kLength, 3);
  CHECK(append(backend, 0, 0, sequences[0].tokens) == sequences[0].alone);
}
