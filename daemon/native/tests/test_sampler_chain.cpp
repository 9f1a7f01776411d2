#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "check.h"
#include "sampler/chain.h"
#include "sampler/row.h"

namespace glmd::sampler {
namespace {

std::vector<float> apply(const std::vector<StageRequest>& stages, std::vector<float> row,
                         const std::vector<std::int32_t>& history = {}, std::uint32_t index = 0) {
  const SamplerChain chain(row.size(), stages, 1, 0, 0);
  chain.apply(row.data(), history.data(), history.size(), index);
  return row;
}

void make(const StageRequest& stage) { SamplerChain(10, {stage}, 1, 0, 0); }

}  // namespace

TEST(stages_stand_in_llama_cpps_order) {
  std::string names;
  for (const StageKind& kind : stage_kinds()) names += kind.name + " ";
  CHECK_EQ(names,
           "logit_bias penalties dry top_n_sigma top_k typical top_p min_p xtc temperature ");
}

TEST(unknown_names_and_values_are_refused_in_one_sentence) {
  CHECK_THROWS(make({"topk", {}}), std::invalid_argument, "there is no sampler stage \"topk\"");
  CHECK_THROWS(make({"top_p", {{"q", 0.5}}}), std::invalid_argument,
               "stage \"top_p\" has no parameter \"q\"; it has p, min_keep, inclusive");
  CHECK_THROWS(make({"top_p", {{"p", 1.5}}}), std::invalid_argument,
               "stage \"top_p\": p is 1.5, it must be between 0 and 1");
  CHECK_THROWS(make({"top_p", {{"p", std::nan("")}}}), std::invalid_argument, "p is nan");
  CHECK_THROWS(make({"top_k", {{"k", 0.5}}}), std::invalid_argument, "k must be int");
  CHECK_THROWS(make({"logit_bias", {{"bias", TokenBias{{10, 1.0}}}}}), std::invalid_argument,
               "names token 10, outside the vocabulary of 10");
  CHECK_THROWS(make({"logit_bias", {{"bias", TokenBias{{1, 1e4}}}}}), std::invalid_argument,
               "bias is 10000");
  CHECK_THROWS(make({"dry", {{"breakers", TokenSequences{{}}}}}), std::invalid_argument, "empty");
  CHECK_THROWS(make({"dry", {{"breakers", TokenSequences{{1, -1}}}}}), std::invalid_argument,
               "names token -1");
  CHECK_THROWS(SamplerChain(0, {}, 1, 0, 0), std::invalid_argument, "empty");
}

TEST(rows_that_cannot_be_sampled_from_are_refused) {
  const float nan = std::nanf("");
  const float inf = std::numeric_limits<float>::infinity();
  CHECK_THROWS(apply({}, {0.0F, nan}), std::invalid_argument, "NaN");
  CHECK_THROWS(apply({}, {0.0F, inf}), std::invalid_argument, "+inf");
  CHECK_THROWS(apply({}, {kOut, kOut}), std::invalid_argument, "no token is left");
  const std::vector<float> gone = {kOut, kOut};
  CHECK_THROWS(draw(gone.data(), 2, 1, 0, 0), std::invalid_argument, "no token is left");
}

TEST(a_history_outside_the_vocabulary_is_refused) {
  const StageRequest penalties = {"penalties", {{"repeat", 2.0}}};
  CHECK_THROWS(apply({penalties}, {1.0F, 2.0F}, {2}), std::invalid_argument,
               "the history holds token 2, outside the vocabulary of 2");
  CHECK_THROWS(apply({penalties}, {1.0F, 2.0F}, {-1}), std::invalid_argument, "token -1");
}

TEST(stages_that_move_logits_work_behind_a_cut) {
  // Token 1 is cut before it could be raised; token 2 is found in the short list.
  const auto row = apply({{"top_k", {{"k", std::int64_t{2}}}},
                          {"logit_bias", {{"bias", TokenBias{{1, 50.0}, {2, -1.0}}}}}},
                         {3.0F, 1.0F, 2.0F});
  CHECK(row == std::vector<float>({3.0F, kOut, 1.0F}));
}

TEST(extreme_logits_stay_numbers) {
  const float huge = std::numeric_limits<float>::max();
  const std::vector<StageRequest> all = {
      {"penalties", {{"repeat", 1000.0}, {"frequency", 1000.0}}},
      {"dry", {{"multiplier", 1e6}, {"base", 1e3}, {"allowed_length", std::int64_t{0}}}},
      {"top_n_sigma", {{"n", 1e6}}},
      {"typical", {{"p", 0.999}}},
      {"min_p", {{"p", 1e-300}}},
      {"xtc", {{"probability", 1.0}, {"threshold", 0.0}}},
      {"temperature", {{"temperature", 1e-30}}},
  };
  const std::vector<std::int32_t> history(100, 1);
  for (const std::vector<float>& row :
       {std::vector<float>{-huge, -huge, -huge}, std::vector<float>{huge, huge, -huge},
        std::vector<float>{0.0F, -huge, huge}, std::vector<float>{kOut, 1e-45F, kOut}}) {
    const std::vector<float> result = apply(all, row, history);
    int finite = 0;
    for (const float x : result) {
      CHECK(!std::isnan(x));
      finite += std::isfinite(x) ? 1 : 0;
    }
    CHECK_GE(finite, 1);
  }
}

TEST(temperature_zero_and_next_to_it_leave_the_greatest) {
  for (const double t : {0.0, 1e-45, 1e-38}) {
    const auto row = apply({{"temperature", {{"temperature", t}}}}, {1.0F, 7.0F, 7.0F});
    CHECK(row[0] == kOut && row[1] > kOut);
  }
  const auto negative = apply({{"temperature", {{"temperature", 1e-45}}}}, {-5.0F, -3.0F});
  CHECK(negative == std::vector<float>({kOut, -3.0F}));
}

TEST(top_logprobs_prefers_the_lower_id_and_leaves_out_what_is_out) {
  const std::vector<float> row = {1.0F, 2.0F, kOut, 2.0F};
  const TopLogprobs result = top_logprobs(row.data(), row.size(), 0, 4);
  CHECK_EQ(result.top.size(), 3U);
  CHECK_EQ(result.top[0].first, 1);
  CHECK_EQ(result.top[1].first, 3);
  CHECK_EQ(result.top[2].first, 0);
  CHECK_LE(std::abs(result.logprob - -std::log(1.0 + 2.0 * std::exp(1.0))), 1e-6);
}

}  // namespace glmd::sampler
