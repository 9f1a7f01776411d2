// Selection and sums against the plain way: sorting everything.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "check.h"
#include "sampler/philox.h"
#include "sampler/row.h"
#include "sampler/select.h"

namespace glmd::sampler {
namespace {

// `distinct` different values in [-5, 5), so that few of them make many ties; one token in eight is
// out.
std::vector<float> random_row(std::size_t n, int distinct, std::uint64_t seed) {
  std::vector<float> row(n);
  for (std::size_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::uint32_t>(i);
    const double u = uniform({seed, 0, at, 0});
    row[i] = static_cast<float>(std::floor(u * distinct) / distinct * 10.0 - 5.0);
    if (uniform({seed, 0, at, 1}) < 0.125) row[i] = kOut;
  }
  row[n / 2] = 0.0F;  // never all out, and a zero of either sign
  if (n > 1) row[n / 2 - 1] = -0.0F;
  return row;
}

std::vector<std::uint32_t> ranking(const std::vector<float>& row) {
  std::vector<std::uint32_t> order;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (row[i] > kOut) order.push_back(static_cast<std::uint32_t>(i));
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return row[a] > row[b]; });
  return order;
}

const std::vector<std::size_t> kSizes = {1, 2, 31, 32, 33, 255, 257, 1000, 5000};

}  // namespace

TEST(best_is_the_head_of_the_sorted_row) {
  for (const std::size_t n : kSizes) {
    for (const int distinct : {1, 7, 100000}) {
      const std::vector<float> row = random_row(n, distinct, n);
      const auto order = ranking(row);
      for (const std::size_t k :
           {std::size_t{0}, std::size_t{1}, std::size_t{5}, n / 2, n, n + 3}) {
        const auto found = best(row.data(), n, k);
        const std::size_t expected = std::min(k, order.size());
        CHECK_EQ(found.size(), expected);
        CHECK(std::equal(found.begin(), found.end(), order.begin()));
        if (k == 0) continue;
        const Place last = kth_best(row.data(), n, k);
        CHECK_EQ(last.index, order[expected - 1]);
        CHECK_EQ(last.key, row[order[expected - 1]]);
      }
    }
  }
}

TEST(a_nucleus_is_the_shortest_prefix_that_holds_its_share) {
  for (const std::size_t n : kSizes) {
    for (const int distinct : {1, 7, 100000}) {
      const std::vector<float> row = random_row(n, distinct, n + 1);
      const auto order = ranking(row);
      const float max = row[order[0]];
      double total = 0.0;
      for (const std::uint32_t i : order) total += std::exp(static_cast<double>(row[i] - max));
      for (const double p : {0.0, 0.1003, 0.5003, 0.9003, 0.9997, 1.0}) {
        for (const std::size_t min_keep : {0, 1, 5, 400}) {
          for (const Cut cut : {Cut::at_least, Cut::above, Cut::below}) {
            double share = 0.0;
            std::size_t kept = order.size();
            for (std::size_t i = 0; i < order.size(); ++i) {
              share += std::exp(static_cast<double>(row[order[i]] - max)) / total;
              if (i + 1 == order.size()) share = 1.0;
              const std::size_t length = cut == Cut::below ? i : i + 1;
              const bool reached = cut == Cut::above ? share > p : share >= p;
              if (!reached || length < std::max<std::size_t>(min_keep, 1)) continue;
              kept = length;
              break;
            }
            const Place last = nucleus(row.data(), row.data(), n, p, cut, min_keep);
            CHECK_EQ(last.index, order[kept - 1]);
          }
        }
      }
    }
  }
}

TEST(a_share_below_one_leaves_out_the_last_token_whatever_rounding_says) {
  for (std::size_t n = 2; n < 400; ++n) {
    std::vector<float> row(n);
    for (std::size_t i = 0; i < n; ++i) {
      row[i] = static_cast<float>(-30.0 * uniform({n, 0, static_cast<std::uint32_t>(i), 0}));
    }
    const std::vector<std::uint32_t> order = ranking(row);
    CHECK_EQ(nucleus(row.data(), row.data(), n, 1.0, Cut::below, 0).index, order[n - 2]);
  }
}

TEST(exp_is_within_two_ulp_and_zero_far_below) {
  double worst = 0.0;
  for (int i = 0; i <= 870000; ++i) {
    const float t = static_cast<float>(i) * -1e-4F;
    const double exact = std::exp(static_cast<double>(t));
    worst = std::max(worst, std::abs(static_cast<double>(exp_below(t)) - exact) / exact);
  }
  CHECK_LE(worst, 2.0 / (1 << 23));
  CHECK_EQ(exp_below(0.0F), 1.0F);
  CHECK_EQ(exp_below(-0.0F), 1.0F);
  CHECK_EQ(exp_below(-88.0F), 0.0F);
  CHECK_EQ(exp_below(kOut), 0.0F);
}

TEST(sums_ignore_tokens_that_are_out) {
  for (const std::size_t n : kSizes) {
    const std::vector<float> row = random_row(n, 1000, n + 2);
    const auto order = ranking(row);
    CHECK_EQ(maximum(row.data(), n), row[order[0]]);
    double mean = 0.0;
    double sum = 0.0;
    for (const std::uint32_t i : order) {
      mean += static_cast<double>(row[i]) / static_cast<double>(order.size());
      sum += std::exp(static_cast<double>(row[i] - row[order[0]]));
    }
    double variance = 0.0;
    for (const std::uint32_t i : order) {
      const double d = static_cast<double>(row[i]) - mean;
      variance += d * d / static_cast<double>(order.size());
    }
    const Moments m = moments(row.data(), n);
    CHECK_EQ(m.count, order.size());
    CHECK_LE(std::abs(m.mean - mean), 1e-9 * (1.0 + std::abs(mean)));
    CHECK_LE(std::abs(m.deviation - std::sqrt(variance)), 1e-9 * (1.0 + std::sqrt(variance)));
    CHECK_LE(std::abs(exp_sum(row.data(), n, row[order[0]]) / sum - 1.0), 1e-6);
  }
}

TEST(sample_walks_the_cumulative_distribution) {
  // Shares 1/4, 0, 1/2, 1/4 spread over blocks of the sum.
  std::vector<float> row(1000, kOut);
  row[3] = 0.0F;
  row[500] = std::log(2.0F);
  row[999] = 0.0F;
  const float max = row[500];
  const auto at = [&](double u) { return sample(row.data(), row.size(), max, u); };
  CHECK_EQ(at(0.0), 3U);
  CHECK_EQ(at(0.2499), 3U);
  CHECK_EQ(at(0.2501), 500U);
  CHECK_EQ(at(0.7499), 500U);
  CHECK_EQ(at(0.7501), 999U);
  CHECK_EQ(at(std::nextafter(1.0, 0.0)), 999U);
}

TEST(what_is_no_logit_is_named) {
  std::vector<float> row = {0.0F, kOut, 1.0F};
  require_logits(row.data(), row.size());
  row[2] = std::numeric_limits<float>::infinity();
  CHECK_THROWS(require_logits(row.data(), row.size()), std::invalid_argument,
               "the logit of token 2 is +inf");
  row[1] = std::nanf("");
  CHECK_THROWS(require_logits(row.data(), row.size()), std::invalid_argument,
               "the logit of token 1 is NaN");
}

}  // namespace glmd::sampler
