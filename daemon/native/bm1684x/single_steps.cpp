#include "bm1684x/single_steps.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace glmd::bm1684x {
namespace {

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

std::vector<std::size_t> slot_bytes(const Features& model) {
  std::vector<std::size_t> bytes;
  for (int place = 0; place < model.devices; ++place) {
    bytes.push_back(KvCache::set_bytes(model, place));
  }
  return bytes;
}

std::vector<int> numbered(int n) {
  std::vector<int> sets(static_cast<std::size_t>(n));
  std::iota(sets.begin(), sets.end(), 0);
  return sets;
}

}  // namespace

SingleSteps::SingleSteps(Runtime& runtime, const Features& model, const Sizes& sizes)
    : runtime_(runtime),
      model_(model),
      max_seq_(context(model_, sizes.context)),
      vocab_(vocabulary(model_, sizes.vocab)),
      sets_(numbered(choose_slots(runtime, sizes.slots, slot_bytes(model_)))),
      cache_(runtime_, model_, static_cast<int>(sets_.size()) + 1),
      spare_(static_cast<int>(sets_.size())),
      prefill_mask_(runtime_, model_),
      decode_masks_(runtime_, model_, static_cast<int>(sets_.size())),
      positions_(upload_positions(runtime_, model_.seq)),
      prompt_(make_scratch(model_.embed_prefill)),
      token_(make_scratch(model_.embed_decode)),
      heads_(runtime_, model_) {}

SingleSteps::Scratch SingleSteps::make_scratch(const Graph& embedding) {
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

ModelInfo SingleSteps::info() const {
  ModelInfo info;
  info.layers = static_cast<int>(model_.layers.size());
  info.hidden = model_.hidden;
  info.kv_heads = model_.kv_heads;
  info.head_dim = model_.head_dim;
  info.vocab = vocab_;
  info.max_seq = max_seq_;
  return info;
}

Capabilities SingleSteps::capabilities() const {
  Capabilities capabilities;
  capabilities.slots = static_cast<int>(sets_.size());
  capabilities.decode_batches = {1};
  capabilities.prefill = Prefill::from_zero;
  capabilities.prefill_lengths = {max_seq_};
  capabilities.outputs = heads_.outputs();
  for (const Part& part : model_.parts) {
    capabilities.saved_bytes += static_cast<std::int64_t>(2 * model_.layers.size() * part.kv_row);
  }
  return capabilities;
}

void SingleSteps::run(const std::vector<Span>& spans, std::vector<Result>& results,
                      const std::vector<int>& lengths, const CancelFlag& cancel) {
  if (spans.size() > 1) {
    throw Error("forward", 0,
                "a step of this bmodel is one span, not " + std::to_string(spans.size()));
  }
  const Span& span = spans.front();
  if (span.want == Want::candidates && (span.head.n < 0 || span.head.n > model_.seq)) {
    throw Error("forward", 0,
                "span 0 has a history of " + std::to_string(span.head.n) + " ids; the head takes " +
                    std::to_string(model_.seq));
  }
  // What the slot holds stays as it is until the step has gone well.
  int& own = sets_[static_cast<std::size_t>(span.slot)];
  const bool replaces = span.pos < lengths[static_cast<std::size_t>(span.slot)];
  const int set = replaces || span.n > 1 ? spare_ : own;
  if (span.n > 1) {
    prefill(span, set, cancel);
  } else {
    if (replaces) cache_.copy(own, set, span.pos);
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
  if (set != own) std::swap(own, spare_);
}

void SingleSteps::copy(int from, int to, int n) {
  cache_.copy(sets_[static_cast<std::size_t>(from)], sets_[static_cast<std::size_t>(to)], n);
}

void SingleSteps::save(int slot, int n, std::uint8_t* to) {
  cache_.save(sets_[static_cast<std::size_t>(slot)], n, to);
}

void SingleSteps::restore(int slot, int n, const std::uint8_t* from) {
  cache_.restore(sets_[static_cast<std::size_t>(slot)], n, from);
}

void SingleSteps::embed(const Graph& embedding, const Scratch& scratch, const Span& span) {
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

std::vector<View> SingleSteps::state(const Scratch& scratch, int layer) const {
  std::vector<View> views;
  for (const DeviceMemory& memory : scratch.states[layer % 2]) views.push_back(memory.view());
  return views;
}

void SingleSteps::prefill(const Span& span, int set, const CancelFlag& cancel) {
  runtime_.trace().begin("prefill", model_.seq);
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

void SingleSteps::decode(const Span& span, int set, const CancelFlag& cancel) {
  const int n = span.pos;
  runtime_.trace().begin("decode", 1);
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

}  // namespace glmd::bm1684x
