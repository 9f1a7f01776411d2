#include "bm1684x/backend.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace glmd::bm1684x {
namespace {

constexpr int kOutOfMemory = 5;  // bm_status_t

// Conversations kept on the chip when nobody says how many: at most, and where the library does
// not say how much memory is free.
constexpr int kMostSlots = 32;
constexpr int kBlindSlots = 8;
constexpr double kSlotShare = 0.8;  // of the free memory

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

Features load(Runtime& runtime, const Options& options) {
  check_room(runtime, options.device_bytes);
  runtime.load(options.path);
  return read_features(runtime.nets(), runtime.devices());
}

int context(const Features& model, int asked) {
  return asked > 0 ? std::min(asked, model.seq) : model.seq;
}

int vocabulary(const Features& model, int given) {
  if (model.gives_logits()) return model.vocab;
  if (given > 0) return given;
  throw Error("load", 0,
              "this bmodel gives token ids only, so the tokenizer has to say how many "
              "there are");
}

// A table of all positions, so that none is ever uploaded. Entries are 64 bytes apart after the
// first S: a single one is read from an aligned address.
constexpr std::size_t kApart = 64;

std::vector<std::int32_t> position_table(int seq) {
  const auto n = static_cast<std::size_t>(seq);
  const std::size_t step = kApart / sizeof(std::int32_t);
  const std::size_t packed = (n + step - 1) / step * step;
  std::vector<std::int32_t> table(packed + n * step, 0);
  std::iota(table.begin(), table.begin() + seq, 0);
  for (int i = 0; i < seq; ++i) table[packed + static_cast<std::size_t>(i) * step] = i;
  return table;
}

std::vector<DeviceMemory> upload_positions(Runtime& runtime, int seq) {
  const std::vector<std::int32_t> table = position_table(seq);
  std::vector<DeviceMemory> memory;
  for (int place = 0; place < runtime.devices(); ++place) {
    memory.push_back(runtime.allocate(place, table.size() * sizeof(std::int32_t)));
    runtime.upload(place, memory.back().view(), table.data());
  }
  return memory;
}

View position(const DeviceMemory& table, int seq, int n) {
  const std::size_t packed = static_cast<std::size_t>(seq) * sizeof(std::int32_t);
  const std::size_t start = (packed + kApart - 1) / kApart * kApart;
  return table.part(start + static_cast<std::size_t>(n) * kApart, sizeof(std::int32_t));
}

void stop_if(const CancelFlag& cancel) {
  if (cancel.load(std::memory_order_relaxed)) throw Cancelled();
}

}  // namespace

Bm1684xBackend::Bm1684xBackend(const Options& options)
    : library_(options.search),
      quantisation_(options.quantisation),
      runtime_(library_, options.devices),
      model_(load(runtime_, options)),
      max_seq_(context(model_, options.context)),
      vocab_(vocabulary(model_, options.vocab)),
      slots_(static_cast<std::size_t>(choose_slots(options.slots))),
      cache_(runtime_, model_, static_cast<int>(slots_.size()) + 1),
      spare_(static_cast<int>(slots_.size())),
      prefill_mask_(runtime_, model_),
      decode_masks_(runtime_, model_, static_cast<int>(slots_.size())),
      positions_(upload_positions(runtime_, model_.seq)),
      prompt_(make_scratch(model_.embed_prefill)),
      token_(make_scratch(model_.embed_decode)),
      heads_(runtime_, model_) {
  for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].set = static_cast<int>(i);
}

Bm1684xBackend::Scratch Bm1684xBackend::make_scratch(const Graph& embedding) {
  Scratch scratch;
  for (const Port& port : embedding.inputs) {
    scratch.ids.push_back(runtime_.allocate(port.device, port.bytes));
  }
  for (int place = 0; place < model_.devices; ++place) {
    for (auto& states : scratch.states) {
      states.push_back(runtime_.allocate(place, embedding.outputs.front().bytes));
    }
  }
  return scratch;
}

int Bm1684xBackend::choose_slots(int asked) const {
  if (asked > 0) return asked;
  int fit = kMostSlots;
  for (int place = 0; place < model_.devices; ++place) {
    const DeviceStats stats = runtime_.device(place).stats();
    const auto free = static_cast<double>(stats.memory_total - stats.memory_used);
    const auto bytes = static_cast<double>(KvCache::set_bytes(model_, place));
    if (bytes == 0) continue;
    fit = std::min(fit, stats.memory_total > 0 ? static_cast<int>(kSlotShare * free / bytes) - 1
                                               : kBlindSlots);
  }
  return std::max(fit, 1);
}

ModelInfo Bm1684xBackend::info() const {
  ModelInfo info;
  info.layers = static_cast<int>(model_.layers.size());
  info.hidden = model_.hidden;
  info.kv_heads = model_.kv_heads;
  info.head_dim = model_.head_dim;
  info.vocab = vocab_;
  info.max_seq = max_seq_;
  info.quantisation = quantisation_;
  return info;
}

Capabilities Bm1684xBackend::capabilities() const {
  Capabilities capabilities;
  capabilities.slots = static_cast<int>(slots_.size());
  capabilities.decode_batches = {1};
  capabilities.prefill = Prefill::from_zero;
  capabilities.prefill_lengths = {max_seq_};
  capabilities.outputs = heads_.outputs();
  capabilities.devices = model_.devices;
  return capabilities;
}

void Bm1684xBackend::forward(const std::vector<Span>& spans, std::vector<Result>& results,
                             const CancelFlag& cancel) {
  if (results.size() != spans.size()) {
    throw Error("forward", 0,
                "there are " + std::to_string(spans.size()) + " spans but " +
                    std::to_string(results.size()) + " results");
  }
  if (spans.empty()) return;
  if (spans.size() > 1) {
    throw Error("forward", 0,
                "a step of this bmodel is one span, not " + std::to_string(spans.size()));
  }
  const Span& span = spans.front();
  check_span(span, results.front());
  Slot& slot = slots_[static_cast<std::size_t>(span.slot)];
  // What the slot holds stays as it is until the step has gone well.
  const bool replaces = span.pos < slot.length;
  const int set = replaces || span.n > 1 ? spare_ : slot.set;
  try {
    stop_if(cancel);
    if (span.n > 1) {
      prefill(span, set, cancel);
    } else {
      if (replaces) cache_.copy(slot.set, set, span.pos);
      decode(span, set, cancel);
    }
    if (span.want == Want::none) {
      runtime_.wait();
    } else {
      std::vector<View> last =
          state(span.n > 1 ? prompt_ : token_, static_cast<int>(model_.layers.size()));
      const std::size_t bytes = model_.embed_decode.outputs.front().bytes;
      for (View& view : last) view = view.part(static_cast<std::size_t>(span.n - 1) * bytes, bytes);
      heads_.answer(last, span, results.front());
    }
  } catch (...) {
    runtime_.settle();  // nothing may still be running when the next step begins
    throw;
  }
  if (set != slot.set) std::swap(slot.set, spare_);
  slot.length = span.pos + span.n;
}

void Bm1684xBackend::check_span(const Span& span, const Result& result) const {
  const auto refuse = [](const std::string& sentence) {
    throw Error("forward", 0, "span 0 " + sentence);
  };
  const int slots = static_cast<int>(slots_.size());
  if (span.slot < 0 || span.slot >= slots) {
    refuse("names slot " + text(span.slot) + "; there are " + text(slots));
  }
  if (span.n <= 0 || span.tokens == nullptr) refuse("has no tokens");
  if (span.pos < 0 || span.n > max_seq_ - span.pos) {
    refuse("puts " + text(span.n) + " tokens at position " + text(span.pos) + " of slot " +
           text(span.slot) + ", which holds " + text(max_seq_));
  }
  const int length = slots_[static_cast<std::size_t>(span.slot)].length;
  if (span.pos > length) {
    refuse("starts at position " + text(span.pos) + " of slot " + text(span.slot) +
           ", which has only " + text(length));
  }
  if (span.pos > 0 && span.n > 1) {
    refuse("puts " + text(span.n) + " tokens behind others; this bmodel takes one at a time there");
  }
  for (int t = 0; t < span.n; ++t) {
    if (span.tokens[t] < 0 || span.tokens[t] >= vocab_) {
      refuse("has token id " + text(span.tokens[t]) + "; the vocabulary has " + text(vocab_));
    }
  }
  const std::vector<Want> outputs = heads_.outputs();
  if (std::find(outputs.begin(), outputs.end(), span.want) == outputs.end()) {
    refuse(std::string("wants ") + (span.want == Want::logits ? "logits" : "candidates") +
           ", which this bmodel does not give");
  }
  if (span.want == Want::logits && result.logits == nullptr) {
    refuse("wants logits but gives no room for them");
  }
  if (span.want == Want::candidates && (span.head.n < 0 || span.head.n > model_.seq)) {
    refuse("has a history of " + text(span.head.n) + " ids; the head takes " + text(model_.seq));
  }
}

void Bm1684xBackend::embed(const Graph& embedding, const Scratch& scratch, const Span& span) {
  std::vector<View> ids;
  const std::size_t bytes = static_cast<std::size_t>(span.n) * sizeof(std::int32_t);
  for (std::size_t i = 0; i < scratch.ids.size(); ++i) {
    const DeviceMemory& memory = scratch.ids[i];
    ids.push_back(memory.view());
    // Behind a prompt stay the ids of an earlier one: they are rubbish that nobody reads.
    runtime_.upload(embedding.inputs[i].device, memory.part(0, bytes), span.tokens);
  }
  std::vector<std::vector<View>> states;
  for (const View& view : state(scratch, 0)) states.push_back({view});
  runtime_.launch(embedding, ids, choose(embedding.outputs, states));
}

std::vector<View> Bm1684xBackend::state(const Scratch& scratch, int layer) const {
  std::vector<View> views;
  for (const DeviceMemory& memory : scratch.states[layer % 2]) views.push_back(memory.view());
  return views;
}

void Bm1684xBackend::prefill(const Span& span, int set, const CancelFlag& cancel) {
  embed(model_.embed_prefill, prompt_, span);
  for (int layer = 0; layer < static_cast<int>(model_.layers.size()); ++layer) {
    stop_if(cancel);
    const std::vector<View> before = state(prompt_, layer);
    const std::vector<View> after = state(prompt_, layer + 1);
    std::vector<std::vector<View>> inputs;
    std::vector<std::vector<View>> outputs;
    for (int place = 0; place < model_.devices; ++place) {
      const auto d = static_cast<std::size_t>(place);
      const KvCache::Place kv = cache_.for_prefill(set, layer, place);
      inputs.push_back({before[d], positions_[d].view(), prefill_mask_.view(place)});
      outputs.push_back({after[d], kv.keys, kv.values});
    }
    const Graph& net = model_.layers[static_cast<std::size_t>(layer)].prefill;
    runtime_.launch(net, choose(net.inputs, inputs), choose(net.outputs, outputs));
  }
}

void Bm1684xBackend::decode(const Span& span, int set, const CancelFlag& cancel) {
  const int n = span.pos;
  decode_masks_.set(span.slot, n);
  embed(model_.embed_decode, token_, span);
  for (int layer = 0; layer < static_cast<int>(model_.layers.size()); ++layer) {
    stop_if(cancel);
    const std::vector<View> before = state(token_, layer);
    const std::vector<View> after = state(token_, layer + 1);
    std::vector<std::vector<View>> inputs;
    std::vector<std::vector<View>> outputs;
    for (int place = 0; place < model_.devices; ++place) {
      const auto d = static_cast<std::size_t>(place);
      const KvCache::Place read = cache_.to_read(set, layer, place, n);
      const KvCache::Place write = cache_.to_write(set, layer, place, n);
      inputs.push_back({before[d], position(positions_[d], model_.seq, n),
                        decode_masks_.view(span.slot, place), read.keys, read.values});
      outputs.push_back({after[d], write.keys, write.values});
    }
    const Graph& net = model_.layers[static_cast<std::size_t>(layer)].decode;
    runtime_.launch(net, choose(net.inputs, inputs), choose(net.outputs, outputs));
  }
}

Bm1684xBackend::Slot& Bm1684xBackend::slot(const char* call, int index) {
  if (index >= 0 && index < static_cast<int>(slots_.size())) {
    return slots_[static_cast<std::size_t>(index)];
  }
  throw Error(call, 0,
              "there is no slot " + text(index) + "; there are " + std::to_string(slots_.size()));
}

int Bm1684xBackend::length(int index) const {
  return const_cast<Bm1684xBackend*>(this)->slot("length", index).length;
}

void Bm1684xBackend::truncate(int index, int n) {
  Slot& it = slot("truncate", index);
  if (n < 0 || n > it.length) {
    throw Error("truncate", 0,
                "slot " + text(index) + " holds " + text(it.length) + " positions, not " + text(n));
  }
  it.length = n;
}

void Bm1684xBackend::copy_prefix(int src, int dst, int n) {
  const Slot& from = slot("copy_prefix", src);
  Slot& to = slot("copy_prefix", dst);
  if (src == dst) throw Error("copy_prefix", 0, "a slot cannot be copied to itself");
  if (n < 0 || n > from.length) {
    throw Error("copy_prefix", 0,
                "slot " + text(src) + " holds " + text(from.length) + " positions, not " + text(n));
  }
  cache_.copy(from.set, to.set, n);
  to.length = n;
}

void Bm1684xBackend::release(int index) { slot("release", index).length = 0; }

std::vector<DeviceStats> Bm1684xBackend::stats() const {
  std::vector<DeviceStats> stats;
  for (int place = 0; place < runtime_.devices(); ++place) {
    stats.push_back(runtime_.device(place).stats());
  }
  return stats;
}

}  // namespace glmd::bm1684x
