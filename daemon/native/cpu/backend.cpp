#include "cpu/backend.h"

#include "cpu/step.h"

namespace glmd::cpu {
namespace {

const Weights& complete(const Weights& weights) {
  const std::vector<std::string> missing = weights.missing();
  if (missing.empty()) return weights;
  std::string names;
  for (const std::string& name : missing) names += (names.empty() ? "" : ", ") + name;
  throw Error("load", 0,
              "the model lacks " + std::to_string(missing.size()) +
                  (missing.size() == 1 ? " tensor: " : " tensors: ") + names);
}

int positive(int n, const char* what) {
  if (n > 0) return n;
  throw Error("load", 0, std::string(what) + " must be positive, got " + std::to_string(n));
}

}  // namespace

CpuBackend::CpuBackend(const Weights& weights, int slots, int max_seq, int threads,
                       const Kernels& kernels)
    : shape_(complete(weights).shape()),
      mode_(weights.mode()),
      pool_(threads),
      cache_(shape_, positive(slots, "slots"), positive(max_seq, "max_seq")),
      model_(weights, kernels, pool_) {}

ModelInfo CpuBackend::info() const {
  ModelInfo info;
  info.layers = shape_.layers;
  info.hidden = shape_.hidden;
  info.heads = shape_.heads;
  info.kv_heads = shape_.kv_heads;
  info.head_dim = shape_.head_dim;
  info.vocab = shape_.vocab;
  info.max_seq = cache_.max_seq();
  info.quantisation = mode_;
  return info;
}

Capabilities CpuBackend::capabilities() const {
  Capabilities capabilities;
  capabilities.slots = cache_.slots();
  capabilities.prefill = Prefill::any;
  capabilities.outputs = {Want::none, Want::token, Want::logits};
  return capabilities;
}

void CpuBackend::forward(const std::vector<Span>& spans, std::vector<Result>& results,
                         const CancelFlag& cancel) {
  const Step step = plan_step(spans, results, cache_, shape_.vocab);
  StepGuard guard(step, cache_);
  model_.run(step, spans, results, cache_, cancel);
  guard.commit();
}

void CpuBackend::check_slot(const char* call, int slot) const {
  if (slot >= 0 && slot < cache_.slots()) return;
  throw Error(
      call, 0,
      "there is no slot " + std::to_string(slot) + "; there are " + std::to_string(cache_.slots()));
}

int CpuBackend::length(int slot) const {
  check_slot("length", slot);
  return cache_.length(slot);
}

void CpuBackend::truncate(int slot, int n) {
  check_slot("truncate", slot);
  if (n < 0 || n > cache_.length(slot)) {
    throw Error("truncate", 0,
                "slot " + std::to_string(slot) + " holds " + std::to_string(cache_.length(slot)) +
                    " positions, not " + std::to_string(n));
  }
  cache_.set_length(slot, n);
}

void CpuBackend::copy_prefix(int src, int dst, int n) {
  check_slot("copy_prefix", src);
  check_slot("copy_prefix", dst);
  if (src == dst) throw Error("copy_prefix", 0, "a slot cannot be copied to itself");
  if (n < 0 || n > cache_.length(src)) {
    throw Error("copy_prefix", 0,
                "slot " + std::to_string(src) + " holds " + std::to_string(cache_.length(src)) +
                    " positions, not " + std::to_string(n));
  }
  cache_.copy_prefix(src, dst, n);
}

void CpuBackend::release(int slot) {
  check_slot("release", slot);
  cache_.release(slot);
}

}  // namespace glmd::cpu
