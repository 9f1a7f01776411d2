// The BM1684X backend where no simulator reaches: several chips, and calls that fail.
#include <memory>
#include <vector>

#include "bm1684x/backend.h"
#include "bm1684x/simulator.h"
#include "tests/check.h"
#include "tests/fake_sophon.h"

using namespace glmd;
using namespace glmd::test;
using bm1684x::Bm1684xBackend;
using bm1684x::Options;

namespace {

const CancelFlag kGo{false};

// A stand-in with nothing recorded.
FakeSophon& fresh(int chips = 1, int devices = 1) {
  FakeSophon& fake = fake_sophon();
  fake = FakeSophon{};
  fake.chips = chips;
  fake.devices = devices;
  return fake;
}

Options options(std::vector<int> devices = {0}) {
  Options options;
  options.search.folder = GLMD_FAKE_SOPHON;
  options.devices = std::move(devices);
  options.path = "any.bmodel";
  options.sizes.slots = 2;
  return options;
}

void load(const Options& options) { const Bm1684xBackend backend(options); }

Result forward(Backend& backend, int slot, int pos, const std::vector<std::int32_t>& tokens,
               Want want = Want::token) {
  std::vector<Result> results(1);
  backend.forward({{slot, pos, tokens.data(), static_cast<int>(tokens.size()), want, {}}}, results,
                  kGo);
  return results.front();
}

}  // namespace

namespace {

void check_every_tensor(int devices, bool mlp_only) {
  FakeSophon& fake = fresh(8, devices);
  fake.mlp_only = mlp_only;
  std::vector<int> ids;
  for (int i = 0; i < devices; ++i) ids.push_back(7 - i);  // not in the order of the chips
  {
    Bm1684xBackend backend(options(ids));
    CHECK_EQ(backend.capabilities().devices, devices);
    CHECK_EQ(backend.info().kv_heads, mlp_only ? 1 : devices);
    CHECK_EQ(forward(backend, 0, 0, {1, 2, 3}).token, 3);
    CHECK_EQ(forward(backend, 0, 3, {4}).token, 3);
    CHECK_EQ(forward(backend, 1, 0, {4}).token, 3);
    backend.copy_prefix(0, 1, 2);
    CHECK_EQ(forward(backend, 1, 1, {4}).token, 3);
    const auto uploads = backend.traffic().uploads;
    CHECK_EQ(forward(backend, 1, 2, {4}).token, 3);
    CHECK_EQ(backend.traffic().uploads - uploads, mlp_only ? 1 + devices : 2 * devices);
    const std::vector<DeviceStats> stats = backend.stats();
    CHECK_EQ(stats.size(), static_cast<std::size_t>(devices));
    CHECK_EQ(stats.front().device, 7);
    CHECK_EQ(stats.front().temperature, 51.0F);
    CHECK_EQ(fake.opened, devices);
  }
  for (const std::string& sentence : fake.wrong) fail(__FILE__, __LINE__, sentence);
  CHECK_EQ(fake.launched.size(), std::size_t{20});
  CHECK_EQ(fake.allocated, 0);
  CHECK_EQ(fake.opened, 0);
}

}  // namespace

TEST(every_tensor_lies_on_its_chip) {
  for (const int devices : {1, 2, 4, 8}) check_every_tensor(devices, false);
}

TEST(tensors_that_lie_on_the_first_chip_alone_are_put_there) {
  for (const int devices : {2, 4, 8}) check_every_tensor(devices, true);
}

TEST(a_state_that_does_not_come_out_where_it_is_taken_is_refused) {
  FakeSophon& fake = fresh(2, 2);
  fake.lost = true;
  CHECK_THROWS(load(options({0, 1})), Error,
               "hidden state, position ids and mask in; hidden state, K and V out on device 1");
  fake.mlp_only = true;
  CHECK_THROWS(load(options({0, 1})), Error, "a hidden state on device 1, where lm_head takes it");
  CHECK_EQ(fake.opened, 0);
}

TEST(chips_that_do_not_fit_are_refused) {
  FakeSophon& fake = fresh(2, 2);
  CHECK_THROWS(load(options({0})), Error, "compiled for 2 devices, and 1 was given");
  CHECK_THROWS(load(options({0, 2})), Error, "no device 2; the driver shows 2");
  CHECK_THROWS(load(options({1, 1})), Error, "already open");
  fake.chip_id = 0x1684;
  CHECK_THROWS(load(options({0, 1})), Error, "is no BM1684X");
  CHECK_EQ(fake.opened, 0);
  CHECK_EQ(fake.allocated, 0);
}

TEST(memory_is_looked_at_before_anything_is_loaded) {
  FakeSophon& fake = fresh();
  fake.memory_total = 8000;
  fake.memory_used = 1000;
  Options big = options();
  big.device_bytes = std::int64_t{12000} << 20;
  CHECK_THROWS(load(big), Error, "needs 12000 MiB on device 0, which has 7000 MiB free");
  CHECK_EQ(fake.opened, 0);
}

TEST(a_chip_without_room_is_an_error_wherever_that_is_found) {
  for (int n = 0; n < 12; ++n) {
    FakeSophon& fake = fresh();
    fake.allocations_until_full = n;
    CHECK_THROWS(load(options()), Error, "has no room for another");
    CHECK_EQ(fake.opened, 0);
    CHECK_EQ(fake.allocated, 0);
  }
}

TEST(a_file_that_does_not_load_is_an_error) {
  fresh().loads = false;
  CHECK_THROWS(load(options()), Error, "libbmrt does not load any.bmodel");
}

TEST(a_step_that_fails_anywhere_leaves_slots_as_they_were) {
  for (const bool throws : {false, true}) {
    for (int n = 0; n < 4; ++n) {
      FakeSophon& fake = fresh();
      Bm1684xBackend backend(options());
      forward(backend, 0, 0, {1, 2});
      (throws ? fake.launches_until_throw : fake.launches_until_false) = n;
      CHECK_THROWS(forward(backend, 0, 1, {3}), Error,
                   throws ? "bmrt_launch_tensor_ex threw: it burns" : "does not launch net");
      CHECK_EQ(backend.length(0), 2);
      CHECK_EQ(forward(backend, 0, 2, {3}).token, 3);
    }
  }
}

TEST(libraries_that_are_not_there_are_named_with_the_places) {
  Options nowhere = options();
  nowhere.search.folder = "/nowhere";
  CHECK_THROWS(load(nowhere), Error, "libbmlib.so.0 was not found in /nowhere, /nowhere/lib");
}

TEST(of_what_the_simulator_prints_only_chatter_is_left_out) {
  using bm1684x::print_what_matters;
  CHECK_EQ(print_what_matters(1, "[%d] do_allreduce: %d.\n", 0, 0), 0);
  CHECK_EQ(print_what_matters(1, "[%d] output #%d: dims=%d, shape=[", 0, 0, 2), 0);
  CHECK_EQ(print_what_matters(1, "[%d] %d ", 0, 2304), 0);
  CHECK_EQ(print_what_matters(1, "[%d] ]\n", 0), 0);
  CHECK_EQ(print_what_matters(1, "[%d] %d ", 0, 7), 6);
  CHECK_EQ(print_what_matters(1, "[%d] [ERR] %s, at %.1f\n", 0, "it burns", 1.5), 27);
}
