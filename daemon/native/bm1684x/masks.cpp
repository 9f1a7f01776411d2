#include "bm1684x/masks.h"

#include <algorithm>
#include <cstdint>

namespace glmd::bm1684x {
namespace {

constexpr std::uint16_t kHidden = 0xF0E2;    // -10000 in f16
constexpr std::uint32_t kFlag = 0x3F800000;  // 1.0 in f32

std::size_t entry_bytes(MaskForm form) { return form == MaskForm::added ? 2 : 4; }

// Entries of a mask as the chip reads them. Seen is 0 in both forms.
class Entries {
 public:
  Entries(MaskForm form, std::size_t n) : form_(form), bytes_(n * entry_bytes(form)) {}

  void hide(std::size_t first, std::size_t end) {
    if (form_ == MaskForm::added) {
      auto* entries = reinterpret_cast<std::uint16_t*>(bytes_.data());
      std::fill(entries + first, entries + end, kHidden);
    } else {
      auto* entries = reinterpret_cast<std::uint32_t*>(bytes_.data());
      std::fill(entries + first, entries + end, kFlag);
    }
  }
  const std::uint8_t* data() const { return bytes_.data(); }
  std::size_t bytes() const { return bytes_.size(); }

 private:
  MaskForm form_;
  std::vector<std::uint8_t> bytes_;
};

}  // namespace

PrefillMask::PrefillMask(Runtime& runtime, const Features& model) {
  const auto seq = static_cast<std::size_t>(model.seq);
  Entries entries(model.mask, seq * seq);
  for (std::size_t row = 0; row < seq; ++row) entries.hide(row * seq + row + 1, (row + 1) * seq);
  for (int device = 0; device < model.devices; ++device) {
    memory_.emplace_back();
    if (!model.parts[static_cast<std::size_t>(device)].takes) continue;
    memory_.back() = runtime.allocate(device, entries.bytes());
    runtime.upload(device, memory_.back().view(), entries.data());
  }
}

DecodeMasks::DecodeMasks(Runtime& runtime, const Features& model, int slots)
    : runtime_(runtime),
      parts_(model.parts),
      seq_(model.seq),
      right_aligned_(model.kv_output == KvOutput::shifted),
      form_(model.mask),
      seen_(static_cast<std::size_t>(slots), -1) {
  const std::size_t bytes = (static_cast<std::size_t>(seq_) + 1) * entry_bytes(form_);
  memory_.resize(seen_.size());
  for (auto& slot : memory_) {
    for (int device = 0; device < model.devices; ++device) {
      const bool takes = parts_[static_cast<std::size_t>(device)].takes;
      slot.push_back(takes ? runtime.allocate(device, bytes) : DeviceMemory());
    }
  }
}

void DecodeMasks::set(int slot, int n) {
  int& seen = seen_[static_cast<std::size_t>(slot)];
  if (seen == n) return;
  // Entries [0, S) are the cache; in a right-aligned one, n positions are its last.
  const int edge = right_aligned_ ? seq_ - n : n;
  const int old_edge = right_aligned_ ? seq_ - seen : seen;
  const auto first = static_cast<std::size_t>(seen < 0 ? 0 : std::min(edge, old_edge));
  const auto end = static_cast<std::size_t>(seen < 0 ? seq_ + 1 : std::max(edge, old_edge));
  Entries changed(form_, end - first);
  const auto hidden_first =
      right_aligned_ ? first : std::max(first, static_cast<std::size_t>(edge));
  const auto hidden_end = std::min(end, static_cast<std::size_t>(right_aligned_ ? edge : seq_));
  if (hidden_first < hidden_end) changed.hide(hidden_first - first, hidden_end - first);
  seen = -1;  // until the upload has gone well
  for (std::size_t device = 0; device < parts_.size(); ++device) {
    if (!parts_[device].takes) continue;
    const DeviceMemory& memory = memory_[static_cast<std::size_t>(slot)][device];
    runtime_.upload(static_cast<int>(device),
                    memory.part(first * entry_bytes(form_), changed.bytes()), changed.data());
  }
  seen_[static_cast<std::size_t>(slot)] = n;
}

}  // namespace glmd::bm1684x
