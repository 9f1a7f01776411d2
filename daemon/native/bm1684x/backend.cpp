#include "bm1684x/backend.h"

#include <utility>

#include "bm1684x/check_spans.h"

namespace glmd::bm1684x {
namespace {

constexpr int kOutOfMemory = 5;  // bm_status_t

std::string text(int n) { return std::to_string(n); }

std::string mebibytes(std::int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

void check_room(const Runtime& runtime, std::int64_t needed) {
  for (int place = 0; place < runtime.devices(); ++place) {
    const DeviceStats stats = runtime.device(place).stats();
    const std::int64_t free = stats.memory_total - stats.memory_used;
    if (stats.memory_total == 0 || needed <= free) continue;
    throw Error("bm_get_stat", kOutOfMemory,
                "the bmodel needs " + mebibytes(needed) + " on device " + text(stats.device) +
                    ", which has " + mebibytes(free) + " free of " + mebibytes(stats.memory_total));
  }
}

std::unique_ptr<Steps> load(Runtime& runtime, const Options& options) {
  check_room(runtime, options.device_bytes);
  runtime.load(options.path);
  return make_steps(runtime, options.sizes);
}

}  // namespace

Bm1684xBackend::Bm1684xBackend(const Options& options)
    : library_(options.search),
      runtime_(library_, options.devices),
      steps_(load(runtime_, options)),
      info_(steps_->info()),
      capabilities_(steps_->capabilities()),
      lengths_(static_cast<std::size_t>(capabilities_.slots), 0) {
  info_.quantisation = options.quantisation;
  capabilities_.devices = runtime_.devices();
  runtime_.trace().keep(options.trace);
}

ModelInfo Bm1684xBackend::info() const { return info_; }

Capabilities Bm1684xBackend::capabilities() const { return capabilities_; }

void Bm1684xBackend::forward(const std::vector<Span>& spans, std::vector<Result>& results,
                             const CancelFlag& cancel) {
  check_spans(spans, results, info_, capabilities_, lengths_);
  if (spans.empty()) return;
  try {
    stop_if(cancel);
    steps_->run(spans, results, lengths_, cancel);
  } catch (...) {
    runtime_.settle();  // nothing may still be running when the next step begins
    throw;
  }
  for (const Span& span : spans) {
    lengths_[static_cast<std::size_t>(span.slot)] = span.pos + span.n;
  }
}

int& Bm1684xBackend::held(const char* call, int slot) {
  if (slot >= 0 && slot < capabilities_.slots) return lengths_[static_cast<std::size_t>(slot)];
  throw Error(call, 0,
              "there is no slot " + text(slot) + "; there are " + text(capabilities_.slots));
}

int Bm1684xBackend::length(int slot) const {
  return const_cast<Bm1684xBackend*>(this)->held("length", slot);
}

void Bm1684xBackend::truncate(int slot, int n) {
  int& length = held("truncate", slot);
  if (n < 0 || n > length) {
    throw Error("truncate", 0,
                "slot " + text(slot) + " holds " + text(length) + " positions, not " + text(n));
  }
  length = n;
}

void Bm1684xBackend::copy_prefix(int src, int dst, int n) {
  const int from = held("copy_prefix", src);
  int& to = held("copy_prefix", dst);
  if (src == dst) throw Error("copy_prefix", 0, "a slot cannot be copied to itself");
  if (n < 0 || n > from) {
    throw Error("copy_prefix", 0,
                "slot " + text(src) + " holds " + text(from) + " positions, not " + text(n));
  }
  steps_->copy(src, dst, n);
  to = n;
}

void Bm1684xBackend::release(int slot) { held("release", slot) = 0; }

void Bm1684xBackend::save(int slot, std::uint8_t* to) {
  steps_->save(slot, held("save", slot), to);
}

void Bm1684xBackend::restore(int slot, int n, const std::uint8_t* from) {
  int& length = held("restore", slot);
  if (n < 0 || n > info_.max_seq) {
    throw Error(
        "restore", 0,
        "slot " + text(slot) + " takes " + text(info_.max_seq) + " positions, not " + text(n));
  }
  length = 0;
  steps_->restore(slot, n, from);
  length = n;
}

std::vector<DeviceStats> Bm1684xBackend::stats() const {
  std::vector<DeviceStats> stats;
  for (int place = 0; place < runtime_.devices(); ++place) {
    stats.push_back(runtime_.device(place).stats());
  }
  return stats;
}

}  // namespace glmd::bm1684x
