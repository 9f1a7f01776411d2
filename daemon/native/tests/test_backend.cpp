// The Backend contract on the CPU: what steps do to slots, and what they refuse.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/backend.h"
#include "tests/check.h"
#include "tests/random_model.h"

using namespace glmd;
using namespace glmd::test;
using cpu::CpuBackend;
using cpu::Kind;

namespace {

const CancelFlag kGo{false};

CpuBackend small_backend(int slots = 3, int max_seq = 100) {
  return CpuBackend(random_weights(odd_shape(), Kind::f16), slots, max_seq, 2);
}

void forward(Backend& backend, const std::vector<Span>& spans) {
  std::vector<Result> results(spans.size());
  backend.forward(spans, results, kGo);
}

}  // namespace

TEST(info_and_capabilities_say_what_it_is) {
  const CpuBackend backend = small_backend();
  CHECK_EQ(backend.info().layers, 2);
  CHECK_EQ(backend.info().vocab, 77);
  CHECK_EQ(backend.info().max_seq, 100);
  CHECK_EQ(backend.info().quantisation, "f16");
  CHECK_EQ(backend.capabilities().slots, 3);
  CHECK(backend.capabilities().decode_batches.empty());
  CHECK(backend.capabilities().prefill == Prefill::any);
  CHECK(backend.capabilities().outputs ==
        (std::vector<Want>{Want::none, Want::token, Want::logits}));
  CHECK_EQ(backend.capabilities().devices, 0);
  CHECK(backend.stats().empty());
}

TEST(lengths_follow_the_spans) {
  CpuBackend backend = small_backend();
  const auto tokens = random_tokens(20, 77, 1);
  forward(backend, {{0, 0, tokens.data(), 7, Want::none}, {2, 0, tokens.data(), 20, Want::none}});
  CHECK_EQ(backend.length(0), 7);
  CHECK_EQ(backend.length(1), 0);
  CHECK_EQ(backend.length(2), 20);
  forward(backend, {{0, 7, tokens.data(), 3, Want::none}, {2, 5, tokens.data(), 1, Want::none}});
  CHECK_EQ(backend.length(0), 10);
  CHECK_EQ(backend.length(2), 6);
  backend.truncate(0, 4);
  CHECK_EQ(backend.length(0), 4);
  backend.release(2);
  CHECK_EQ(backend.length(2), 0);
  forward(backend, {});
}

TEST(a_token_is_the_most_likely_one) {
  CpuBackend backend = small_backend();
  const auto tokens = random_tokens(30, 77, 2);
  const auto logits = append(backend, 0, 0, tokens);
  std::vector<Span> spans;
  for (int i = 0; i < 30; ++i) {
    spans.push_back(
        {1, i, &tokens[static_cast<std::size_t>(i)], 1, i % 3 == 0 ? Want::none : Want::token});
  }
  std::vector<Result> results(spans.size());
  backend.forward(spans, results, kGo);
  for (std::size_t i = 0; i < 30; ++i) {
    const auto best = std::max_element(logits[i].begin(), logits[i].end()) - logits[i].begin();
    CHECK_EQ(results[i].token, i % 3 == 0 ? -1 : static_cast<int>(best));
  }
}

TEST(of_equal_logits_the_lower_id_is_taken) {
  cpu::Shape shape = odd_shape();
  cpu::Weights weights = random_weights(shape, Kind::f16);
  // Every row of the head the same: every logit is equal.
  const std::vector<float> ones(static_cast<std::size_t>(shape.vocab * shape.hidden), 0.25F);
  auto bytes = std::make_shared<std::vector<std::uint8_t>>(
      cpu::packed_bytes(Kind::f16, shape.vocab, shape.hidden));
  cpu::ThreadPool pool(1);
  cpu::pack({ones.data(), cpu::SourceType::f32, shape.vocab, shape.hidden, shape.hidden * 4},
            Kind::f16, pool, bytes->data());
  weights.set_matrix(cpu::kHead, Kind::f16, bytes->data(), bytes->size(), bytes);
  CpuBackend backend(weights, 1, 10, 1);
  const std::int32_t token = 5;
  std::vector<Result> results(1);
  backend.forward({{0, 0, &token, 1, Want::token}}, results, kGo);
  CHECK_EQ(results[0].token, 0);
}

TEST(damaged_weights_are_an_error_and_not_a_token) {
  cpu::Weights weights = random_weights(odd_shape(), Kind::f16);
  const std::vector<float> broken(52, std::nanf(""));
  weights.set_vector(cpu::kFinalNorm, broken.data(), broken.size());
  CpuBackend backend(weights, 1, 10, 1);
  const std::int32_t token = 5;
  std::vector<Result> results(1);
  CHECK_THROWS(backend.forward({{0, 0, &token, 1, Want::token}}, results, kGo), Error,
               "no logit is a number");
  CHECK_EQ(backend.length(0), 0);
}

TEST(spans_that_cannot_be_carried_out_are_refused_before_anything_is_done) {
  CpuBackend backend = small_backend();
  const auto tokens = random_tokens(101, 77, 3);
  const std::int32_t* t = tokens.data();
  forward(backend, {{0, 0, t, 10, Want::none}});
  const std::int32_t high = 77;
  const std::int32_t low = -1;
  CHECK_THROWS(forward(backend, {{3, 0, t, 1, Want::none}}), Error, "slot 3");
  CHECK_THROWS(forward(backend, {{-1, 0, t, 1, Want::none}}), Error, "slot -1");
  CHECK_THROWS(forward(backend, {{0, 11, t, 1, Want::none}}), Error, "has only 10");
  CHECK_THROWS(forward(backend, {{0, -1, t, 1, Want::none}}), Error, "position -1");
  CHECK_THROWS(forward(backend, {{1, 0, t, 101, Want::none}}), Error, "which holds 100");
  CHECK_THROWS(forward(backend, {{0, 10, t, 91, Want::none}}), Error, "which holds 100");
  CHECK_THROWS(forward(backend, {{0, 10, t, 0, Want::none}}), Error, "no tokens");
  CHECK_THROWS(forward(backend, {{0, 10, &high, 1, Want::none}}), Error, "token id 77");
  CHECK_THROWS(forward(backend, {{0, 10, &low, 1, Want::none}}), Error, "token id -1");
  CHECK_THROWS(forward(backend, {{0, 10, t, 1, Want::candidates}}), Error, "candidates");
  CHECK_THROWS(forward(backend, {{0, 10, t, 1, Want::logits}}), Error, "no room");
  CHECK_THROWS(forward(backend, {{0, 10, t, 5, Want::none}, {0, 16, t, 1, Want::none}}), Error,
               "ends at 15");
  CHECK_THROWS(forward(backend, {{0, 10, t, 5, Want::none}, {0, 12, t, 1, Want::none}}), Error,
               "ends at 15");
  std::vector<Result> none;
  CHECK_THROWS(backend.forward({{0, 10, t, 1, Want::none}}, none, kGo), Error, "0 results");
  CHECK_EQ(backend.length(0), 10);
  CHECK_EQ(backend.length(1), 0);
  forward(backend, {{0, 10, t, 90, Want::none}});  // exactly full
  CHECK_EQ(backend.length(0), 100);
}

TEST(slots_and_lengths_of_the_other_calls_are_checked) {
  CpuBackend backend = small_backend();
  const auto tokens = random_tokens(10, 77, 3);
  forward(backend, {{0, 0, tokens.data(), 10, Want::none}});
  CHECK_THROWS(backend.length(3), Error, "no slot 3");
  CHECK_THROWS(backend.release(-1), Error, "no slot -1");
  CHECK_THROWS(backend.truncate(0, 11), Error, "not 11");
  CHECK_THROWS(backend.truncate(0, -1), Error, "not -1");
  CHECK_THROWS(backend.copy_prefix(0, 0, 5), Error, "itself");
  CHECK_THROWS(backend.copy_prefix(0, 1, 11), Error, "not 11");
  CHECK_THROWS(backend.copy_prefix(0, 4, 5), Error, "no slot 4");
}

TEST(a_cancelled_step_leaves_slots_as_they_were) {
  CpuBackend backend = small_backend();
  CpuBackend untouched = small_backend();
  const auto tokens = random_tokens(40, 77, 4);
  const auto other = random_tokens(40, 77, 5);
  for (Backend* each : {static_cast<Backend*>(&backend), static_cast<Backend*>(&untouched)}) {
    forward(*each, {{0, 0, tokens.data(), 40, Want::none}, {1, 0, other.data(), 9, Want::none}});
  }
  const CancelFlag cancel{true};
  // The first span would truncate and overwrite what slot 0 holds.
  const std::vector<Span> spans{{0, 10, other.data(), 25, Want::none},
                                {1, 9, tokens.data(), 3, Want::none}};
  std::vector<Result> results(2);
  CHECK_THROWS(backend.forward(spans, results, cancel), Cancelled, "cancelled");
  CHECK_EQ(backend.length(0), 40);
  CHECK_EQ(backend.length(1), 9);
  CHECK(append(backend, 0, 40, {7}) == append(untouched, 0, 40, {7}));
  CHECK(append(backend, 1, 9, {7}) == append(untouched, 1, 9, {7}));
}

TEST(a_step_that_fails_late_leaves_slots_as_they_were) {
  // The embedding of the last id is NaN: its logits are found broken when all layers are written.
  const cpu::Shape shape = odd_shape();
  cpu::Weights weights = random_weights(shape, Kind::f16);
  const cpu::Matrix& embedding = weights.matrix(cpu::kEmbedding);
  const std::size_t size = cpu::packed_bytes(Kind::rows_f16, shape.vocab, shape.hidden);
  auto bytes = std::make_shared<std::vector<std::uint8_t>>(embedding.data, embedding.data + size);
  std::fill(bytes->end() - 2 * shape.hidden, bytes->end(), std::uint8_t{0x7E});
  weights.set_matrix(cpu::kEmbedding, Kind::rows_f16, bytes->data(), size, bytes);
  CpuBackend backend(weights, 1, 100, 2);
  CpuBackend untouched(weights, 1, 100, 2);
  const auto tokens = random_tokens(40, 76, 6);
  auto broken = random_tokens(30, 76, 7);
  broken.back() = 76;
  forward(backend, {{0, 0, tokens.data(), 40, Want::none}});
  forward(untouched, {{0, 0, tokens.data(), 40, Want::none}});
  std::vector<Result> results(1);
  CHECK_THROWS(backend.forward({{0, 3, broken.data(), 30, Want::token}}, results, kGo), Error,
               "logit");
  CHECK_EQ(backend.length(0), 40);
  CHECK(append(backend, 0, 40, {7}) == append(untouched, 0, 40, {7}));
}

TEST(missing_tensors_are_all_named) {
  const cpu::Weights empty(odd_shape(), "f16");
  CHECK_THROWS(CpuBackend(empty, 1, 10, 1), Error, "lacks 17 tensors: transformer.embedding");
  CHECK_THROWS(CpuBackend(empty, 1, 10, 1), Error, "layers.1.mlp.dense_4h_to_h.weight");
}

TEST(sizes_of_the_backend_are_checked) {
  const cpu::Weights weights = random_weights(odd_shape(), Kind::f16);
  CHECK_THROWS(CpuBackend(weights, 0, 10, 1), Error, "slots must be positive");
  CHECK_THROWS(CpuBackend(weights, 1, -5, 1), Error, "max_seq must be positive");
}

TEST(tensors_that_do_not_belong_are_refused) {
  cpu::Weights weights(odd_shape(), "int8");
  const std::vector<float> values(52, 1.0F);
  const std::uint8_t byte = 0;
  CHECK_THROWS(weights.set_vector("lm_head.weight", values.data(), 52), std::invalid_argument,
               "no tensor named lm_head.weight");
  CHECK_THROWS(weights.set_vector(cpu::kFinalNorm, values.data(), 51), std::invalid_argument,
               "expected 52 values, got 51");
  CHECK_THROWS(weights.set_vector(cpu::kHead, values.data(), 52), std::invalid_argument,
               "is a matrix");
  CHECK_THROWS(weights.set_matrix(cpu::kFinalNorm, Kind::f16, &byte, 1, nullptr),
               std::invalid_argument, "is a vector");
  CHECK_THROWS(weights.set_matrix(cpu::kHead, Kind::rows_f16, &byte, 1, nullptr),
               std::invalid_argument, "rows_f16");
  CHECK_THROWS(weights.set_matrix(cpu::kEmbedding, Kind::f16, &byte, 1, nullptr),
               std::invalid_argument, "rows_f16");
  CHECK_THROWS(weights.set_matrix(cpu::kHead, Kind::f16, &byte, 1, nullptr), std::invalid_argument,
               "77 × 52");
  alignas(4) static const std::uint8_t aligned[5 + 77 * 52 * 2]{};
  CHECK_THROWS(
      weights.set_matrix(cpu::kEmbedding, Kind::rows_f16, aligned + 1, 77 * 52 * 2, nullptr),
      std::invalid_argument, "multiple of 4");
  weights.set_matrix(cpu::kEmbedding, Kind::rows_f16, aligned + 4, 77 * 52 * 2, nullptr);
  CHECK_THROWS(cpu::Weights(odd_shape(), "int3"), std::invalid_argument, "int3");
}

TEST(shapes_that_are_no_chatglm3_are_refused) {
  const auto with = [](auto change) {
    cpu::Shape shape = odd_shape();
    change(shape);
    return shape;
  };
  using cpu::Shape;
  CHECK_THROWS(check_shape(with([](Shape& s) { s.layers = 0; })), std::invalid_argument, "layers");
  CHECK_THROWS(check_shape(with([](Shape& s) { s.kv_heads = 4; })), std::invalid_argument,
               "multiple of kv_heads");
  CHECK_THROWS(check_shape(with([](Shape& s) { s.head_dim = 10; })), std::invalid_argument,
               "head_dim");
  CHECK_THROWS(check_shape(with([](Shape& s) { s.norm_eps = 0; })), std::invalid_argument,
               "norm_eps");
  CHECK_THROWS(check_shape(with([](Shape& s) { s.rope_base = 1; })), std::invalid_argument,
               "rope_base");
}
