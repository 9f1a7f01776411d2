#include "bm1684x/step_inputs.h"

#include <algorithm>
#include <cstring>

namespace glmd::bm1684x {
namespace {

constexpr std::uint16_t kSeen = 0;
constexpr std::uint16_t kHidden = 0xF0E2;  // -10000 in f16

// Tensors begin at multiples of this.
constexpr std::size_t kApart = 128;

// Starting another upload is taken to cost as much as this many bytes more in one; card only.
constexpr std::size_t kUploadBytes = 32 << 10;

std::size_t aligned(std::size_t bytes) { return (bytes + kApart - 1) / kApart * kApart; }

}  // namespace

Mirror::Mirror(Runtime& runtime, std::size_t bytes)
    : runtime_(runtime), memory_(runtime.allocate(0, bytes)), bytes_(bytes, 0) {}

template <class T>
void Mirror::fill(std::size_t offset, std::size_t first, std::size_t n, T value) {
  Range range{offset + first * sizeof(T), offset + (first + n) * sizeof(T)};
  const auto entry = [&](std::size_t at) { return bytes_.data() + at; };
  while (range.begin < range.end && std::memcmp(entry(range.begin), &value, sizeof(T)) == 0) {
    range.begin += sizeof(T);
  }
  if (range.begin == range.end) return;
  for (std::size_t at = range.begin; at < range.end; at += sizeof(T)) {
    std::memcpy(entry(at), &value, sizeof(T));
  }
  changed_.push_back(range);
}

void Mirror::upload() {
  std::sort(changed_.begin(), changed_.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> merged;
  for (const Range& range : changed_) {
    if (merged.empty() || range.begin > merged.back().end + kUploadBytes) {
      merged.push_back(range);
    } else {
      merged.back().end = std::max(merged.back().end, range.end);
    }
  }
  for (const Range& range : merged) {
    runtime_.upload(0, memory_.part(range.begin, range.end - range.begin),
                    bytes_.data() + range.begin);
  }
  changed_.clear();  // only now: what has not gone up goes with the next step
}

StepInputs::StepInputs(Runtime& runtime, int rows, int history, int fresh)
    : history_(static_cast<std::size_t>(history)),
      wide_(static_cast<std::size_t>(history + fresh)),
      positions_(aligned(static_cast<std::size_t>(rows) * sizeof(std::int32_t))),
      mask_(2 * positions_),
      seen_(static_cast<std::size_t>(rows), 0),
      mirror_(runtime, mask_ + mask_bytes()) {
  for (std::size_t row = 0; row < seen_.size(); ++row) {
    mirror_.fill(mask_, row * wide_, history_, kHidden);
    const std::size_t own = fresh == 1 ? 1 : row + 1;  // of the fresh ones
    mirror_.fill(mask_, row * wide_ + history_ + own, wide_ - history_ - own, kHidden);
  }
  mirror_.upload();
}

void StepInputs::set(int row, std::int32_t id, int position, int seen) {
  const auto r = static_cast<std::size_t>(row);
  mirror_.fill(0, r, 1, id);
  mirror_.fill(positions_, r, 1, static_cast<std::int32_t>(position));
  const auto before = static_cast<std::size_t>(seen_[r]);
  const auto now = static_cast<std::size_t>(seen);
  if (now > before) mirror_.fill(mask_, r * wide_ + before, now - before, kSeen);
  if (now < before) mirror_.fill(mask_, r * wide_ + now, before - now, kHidden);
  seen_[r] = seen;
}

}  // namespace glmd::bm1684x
