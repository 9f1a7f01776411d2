#include "bm1684x/steps.h"

#include <algorithm>

#include "bm1684x/row_steps.h"
#include "bm1684x/single_steps.h"

namespace glmd::bm1684x {
namespace {

// Conversations kept on the chip when nobody says how many: at most, and where the library does
// not say how much memory is free.
constexpr int kMostSlots = 32;
constexpr int kBlindSlots = 8;
constexpr double kSlotShare = 0.8;  // of the free memory

}  // namespace

int choose_slots(const Runtime& runtime, int asked, const std::vector<std::size_t>& bytes) {
  if (asked > 0) return asked;
  int fit = kMostSlots;
  for (std::size_t place = 0; place < bytes.size(); ++place) {
    if (bytes[place] == 0) continue;
    const DeviceStats stats = runtime.device(static_cast<int>(place)).stats();
    const auto free = static_cast<double>(stats.memory_total - stats.memory_used);
    const double some = kSlotShare * free / static_cast<double>(bytes[place]);
    fit = std::min(fit, stats.memory_total > 0 ? static_cast<int>(some) - 1 : kBlindSlots);
  }
  return std::max(fit, 1);
}

std::unique_ptr<Steps> make_steps(Runtime& runtime, const Sizes& sizes) {
  const std::vector<Net> nets = runtime.nets();
  if (RowFeatures::are_in(nets)) {
    return std::make_unique<RowSteps>(runtime, read_row_features(nets, runtime.devices()), sizes);
  }
  return std::make_unique<SingleSteps>(runtime, read_features(nets, runtime.devices()), sizes);
}

}  // namespace glmd::bm1684x
