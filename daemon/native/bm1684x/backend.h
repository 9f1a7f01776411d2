// The Backend contract on BM1684X chips: one loaded bmodel, and conversations in their memory.
//
// A prompt is computed from its beginning by the prefill nets, all S positions at a time; behind
// it the decode nets take a token a step. Nothing of a conversation passes through the host but
// ids, and logits where they are wanted.
#pragma once

#include <string>
#include <vector>

#include "bm1684x/heads.h"
#include "bm1684x/kv_cache.h"
#include "bm1684x/library.h"
#include "bm1684x/masks.h"
#include "engine.h"

namespace glmd::bm1684x {

struct Options {
  Search search;
  std::vector<int> devices;  // ids, in the order the bmodel counts them
  std::string path;
  int slots = 0;                  // 0: as many as are likely to be used and fit
  int context = 0;                // positions; 0: as many as the bmodel has
  int vocab = 0;                  // of the tokenizer, for a bmodel that only gives ids
  std::string quantisation;       // what the file says of itself
  std::int64_t device_bytes = 0;  // that the file takes on each chip; 0 unknown
};

class Bm1684xBackend final : public Backend {
 public:
  // Opens chips, loads, and allocates all memory there is need for. Throws Error; status 5 means
  // that a chip has no room.
  explicit Bm1684xBackend(const Options& options);

  ModelInfo info() const override;
  Capabilities capabilities() const override;
  void forward(const std::vector<Span>& spans, std::vector<Result>& results,
               const CancelFlag& cancel) override;
  int length(int slot) const override;
  void truncate(int slot, int n) override;
  void copy_prefix(int src, int dst, int n) override;
  void release(int slot) override;
  std::vector<DeviceStats> stats() const override;

  const Features& features() const { return model_; }
  const Traffic& traffic() const { return runtime_.traffic(); }

 private:
  // A conversation: which set of the cache it has, and how many positions of it are its own.
  struct Slot {
    int set = 0;
    int length = 0;
  };

  // Working memory of one shape, on each device: ids in, states between the layers.
  struct Scratch {
    std::vector<DeviceMemory> ids;        // one for each input of the embedding
    std::vector<DeviceMemory> states[2];  // one layer's output is the next one's input
  };

  Scratch make_scratch(const Graph& embedding);
  int choose_slots(int asked) const;
  Slot& slot(const char* call, int index);
  void check_span(const Span& span, const Result& result) const;
  void prefill(const Span& span, int set, const CancelFlag& cancel);
  void decode(const Span& span, int set, const CancelFlag& cancel);
  void embed(const Graph& embedding, const Scratch& scratch, const Span& span);
  std::vector<View> state(const Scratch& scratch, int layer) const;

  Library library_;
  std::string quantisation_;
  Runtime runtime_;
  Features model_;
  int max_seq_;
  int vocab_;
  std::vector<Slot> slots_;
  KvCache cache_;
  int spare_;  // the set that no slot has: steps that replace something are computed there
  PrefillMask prefill_mask_;
  DecodeMasks decode_masks_;
  std::vector<DeviceMemory> positions_;  // 0..S-1 as int32, on each device
  Scratch prompt_;
  Scratch token_;
  Heads heads_;
};

}  // namespace glmd::bm1684x
