// The Backend contract on BM1684X chips: one loaded bmodel, and conversations in their memory.
//
// In a step nothing of a conversation passes through the host but ids, and logits where they are
// wanted. How a step is computed depends on the nets: steps.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bm1684x/library.h"
#include "bm1684x/steps.h"
#include "engine.h"

namespace glmd::bm1684x {

struct Options {
  Search search;
  std::vector<int> devices;  // ids, in the order the bmodel counts them
  std::string path;
  Sizes sizes;
  std::string quantisation;       // what the file says of itself
  std::int64_t device_bytes = 0;  // that the file takes on each chip; 0 unknown
  bool trace = false;             // keep what is launched, for take_trace()
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
  void save(int slot, std::uint8_t* to) override;
  void restore(int slot, int n, const std::uint8_t* from) override;
  std::vector<DeviceStats> stats() const override;

  const Traffic& traffic() const { return runtime_.traffic(); }
  std::vector<TracedStep> take_trace() { return runtime_.trace().take(); }

 private:
  int& held(const char* call, int slot);

  Library library_;
  Runtime runtime_;
  std::unique_ptr<Steps> steps_;
  ModelInfo info_;
  Capabilities capabilities_;
  std::vector<int> lengths_;  // positions that each slot holds
};

}  // namespace glmd::bm1684x
