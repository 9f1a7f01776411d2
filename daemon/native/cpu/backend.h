// The Backend contract on the CPU: any number of slots and tokens in one step.
#pragma once

#include <memory>

#include "cpu/kernels.h"
#include "cpu/kv_cache.h"
#include "cpu/model.h"
#include "cpu/thread_pool.h"
#include "cpu/weights.h"
#include "engine.h"

namespace glmd::cpu {

class CpuBackend final : public Backend {
 public:
  // `threads` 0 means all cores that the process may use. Throws Error naming every missing tensor.
  CpuBackend(const Weights& weights, int slots, int max_seq, int threads = 0,
             const Kernels& kernels = best_kernels());

  ModelInfo info() const override;
  Capabilities capabilities() const override;
  void forward(const std::vector<Span>& spans, std::vector<Result>& results,
               const CancelFlag& cancel) override;
  int length(int slot) const override;
  void truncate(int slot, int n) override;
  void copy_prefix(int src, int dst, int n) override;
  void release(int slot) override;
  std::vector<DeviceStats> stats() const override { return {}; }

 private:
  void check_slot(const char* call, int slot) const;

  Shape shape_;
  std::string mode_;
  ThreadPool pool_;
  KvCache cache_;
  Model model_;
};

}  // namespace glmd::cpu
