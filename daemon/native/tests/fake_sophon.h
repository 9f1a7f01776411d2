// A recording stand-in for libbmlib and libbmrt, for what no machine here has: several chips, and
// calls that fail. Each launch is checked against where its tensors must lie. It computes nothing
// but the nets of fake_rows.h. Memory holds NaN when it is given out.
#pragma once

#include <string>
#include <vector>

namespace glmd::test {

struct FakeSophon {
  int chips = 1;
  int devices = 1;        // that the bmodel is compiled for
  bool mlp_only = false;  // layers have all but their state on the first, as TPU-MLIR places it
  bool lost = false;      // layers give their state on the first alone
  bool rows = false;      // nets that compute rows of any conversations: fake_rows.h
  unsigned chip_id = 0x1686;
  int memory_total = 0;  // MiB of each chip, 0 unknown
  int memory_used = 0;
  bool loads = true;              // what bmrt_load_bmodel says
  int fatal_chip = -1;            // its opening ends the process
  int launches_until_false = -1;  // counted down; -1 never
  int launches_until_throw = -1;
  int allocations_until_full = -1;

  std::vector<std::string> launched;  // names of nets
  std::vector<std::string> wrong;     // tensors that are not on their chip, in words
  int allocated = 0;                  // stretches of memory that are not freed
  int opened = 0;                     // chips that are not closed
};

// The one that the library's calls work on.
FakeSophon& fake_sophon();

}  // namespace glmd::test
