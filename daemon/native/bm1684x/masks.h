// Attention masks on the chips: which positions a token sees.
#pragma once

#include <vector>

#include "bm1684x/features.h"

namespace glmd::bm1684x {

// The one mask of every prompt, [S,S]: a token sees itself and what is before it. Rows behind the
// prompt's end see rubbish and give rubbish, which nobody reads.
class PrefillMask {
 public:
  PrefillMask(Runtime& runtime, const Features& model);
  View view(int device) const { return memory_[static_cast<std::size_t>(device)].view(); }

 private:
  std::vector<DeviceMemory> memory_;  // per device
};

// The mask of each slot for one more token, [S+1]: the cache's positions, and the token itself. It
// stays on the chips; a token more or less changes one entry, and only that is uploaded.
class DecodeMasks {
 public:
  DecodeMasks(Runtime& runtime, const Features& model, int slots);

  // The slot's mask for a token behind n others.
  void set(int slot, int n);
  View view(int slot, int device) const {
    return memory_[static_cast<std::size_t>(slot)][static_cast<std::size_t>(device)].view();
  }

 private:
  Runtime& runtime_;
  std::vector<Part> parts_;
  int seq_;
  bool right_aligned_;
  MaskForm form_;
  std::vector<std::vector<DeviceMemory>> memory_;  // per slot and device
  std::vector<int> seen_;                          // per slot: the n it is made for, -1 unknown
};

}  // namespace glmd::bm1684x
