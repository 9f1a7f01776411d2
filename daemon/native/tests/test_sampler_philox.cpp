#include <array>
#include <cstdint>
#include <set>

#include "check.h"
#include "sampler/philox.h"

namespace glmd::sampler {

// The known answers that Random123 publishes for philox4x32 with 10 rounds: counter, key, output.
TEST(philox_gives_the_published_answers) {
  struct Answer {
    Counter counter;
    Key key;
    Counter output;
  };
  const std::array<Answer, 3> answers = {{
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  }};
  for (const Answer& answer : answers) {
    CHECK(philox4x32(answer.counter, answer.key) == answer.output);
  }
}

TEST(uniform_takes_the_top_53_bits_of_the_first_two_words) {
  // Seed, choice, index and stage 0: the first known answer.
  const std::uint64_t word = (std::uint64_t{0xe169c58d} << 32) | 0x6627e8d5;
  CHECK_EQ(uniform({0, 0, 0, 0}), static_cast<double>(word >> 11) / 9007199254740992.0);
}

TEST(every_part_of_the_key_makes_another_number) {
  std::set<double> seen;
  for (std::uint64_t bit = 0; bit < 64; ++bit)
    seen.insert(uniform({std::uint64_t{1} << bit, 0, 0, 0}));
  for (std::uint32_t bit = 0; bit < 32; ++bit) {
    const std::uint32_t one = 1U << bit;
    seen.insert(uniform({0, one, 0, 0}));
    seen.insert(uniform({0, 0, one, 0}));
    seen.insert(uniform({0, 0, 0, one}));
  }
  CHECK_EQ(seen.size(), 64U + 3U * 32U);
}

TEST(uniform_stays_in_its_interval_and_fills_it) {
  double sum = 0.0;
  double squares = 0.0;
  const std::uint32_t n = 100000;
  for (std::uint32_t i = 0; i < n; ++i) {
    const double u = uniform({7, 0, i, kDrawStage});
    CHECK(u >= 0.0 && u < 1.0);
    sum += u;
    squares += u * u;
  }
  // Six standard errors around mean 1/2 and mean square 1/3.
  CHECK_LE(std::abs(sum / n - 1.0 / 2), 6.0 * 0.2887 / 316.2);
  CHECK_LE(std::abs(squares / n - 1.0 / 3), 6.0 * 0.2981 / 316.2);
}

}  // namespace glmd::sampler
