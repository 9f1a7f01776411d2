#include "bm1684x/row_steps.h"

#include <algorithm>

namespace glmd::bm1684x {
namespace {

RowCounts counts_of(const RowFeatures& model) {
  const RowLayer& layer = model.layers.front();
  return {rows_of(layer.prefill), rows_of(layer.chunk), rows_of(layer.decode)};
}

// Rows that the nets may write behind position S: the most padding that a piece can have. No token
// is moved to avoid that, as those before it would have to be computed again.
int overhang(const std::vector<int>& chunks) {
  int most = 0;
  int shorter = 0;
  for (const int rows : chunks) {
    most = std::max(most, rows - (shorter + 1));
    shorter = rows;
  }
  return most;
}

PoolShape shape_of(const RowFeatures& model) {
  return {static_cast<int>(model.layers.size()),
          model.seq + overhang(rows_of(model.layers.front().chunk)), model.kv_row};
}

const Stages& stages_of(const RowLayer& layer, RowKind kind) {
  if (kind == RowKind::decode) return layer.decode;
  return kind == RowKind::chunk ? layer.chunk : layer.prefill;
}

const char* name_of(RowKind kind) {
  if (kind == RowKind::decode) return "decode";
  return kind == RowKind::chunk ? "chunk" : "prefill";
}

// Rows of a lane that are written, padding included.
int written(const Pass& pass) { return pass.kind == RowKind::decode ? 1 : pass.rows; }

}  // namespace

RowSteps::RowSteps(Runtime& runtime, const RowFeatures& model, const Sizes& sizes)
    : runtime_(runtime),
      model_(model),
      max_seq_(sizes.context > 0 ? std::min(sizes.context, model.seq) : model.seq),
      counts_(counts_of(model_)),
      pool_(runtime, shape_of(model_),
            choose_slots(runtime, sizes.slots, {KvPool::slot_bytes(shape_of(model_))})),
      inputs_(make_inputs(runtime)),
      heads_(runtime, model_),
      nowhere_(runtime.allocate(0, 2 * model_.kv_row)) {
  int most = counts_.decode.back();
  for (const auto* rows : {&counts_.prefill, &counts_.chunk}) {
    if (!rows->empty()) most = std::max(most, rows->back());
  }
  for (DeviceMemory& states : states_) {
    const auto rows = static_cast<std::size_t>(most + heads_.slack());
    states = runtime.allocate(0, rows * model_.state_bytes);
  }
}

RowSteps::Nets RowSteps::make_inputs(Runtime& runtime) const {
  Nets inputs;
  const auto add = [&](RowKind kind, int rows, int history, int fresh) {
    inputs.emplace(std::make_pair(kind, rows), StepInputs(runtime, rows, history, fresh));
  };
  for (const int n : counts_.prefill) add(RowKind::prefill, n, 0, n);
  for (const int n : counts_.chunk) add(RowKind::chunk, n, model_.seq, n);
  for (const int n : counts_.decode) add(RowKind::decode, n, model_.seq, 1);
  return inputs;
}

ModelInfo RowSteps::info() const {
  ModelInfo info;
  info.layers = static_cast<int>(model_.layers.size());
  info.hidden = model_.hidden;
  info.kv_heads = model_.kv_heads;
  info.head_dim = model_.head_dim;
  info.vocab = model_.vocab;
  info.max_seq = max_seq_;
  return info;
}

Capabilities RowSteps::capabilities() const {
  Capabilities can;
  can.slots = pool_.slots();
  can.decode_batches = counts_.decode;
  can.prefill = Prefill::chunks;
  can.chunk_lengths = counts_.chunk;
  // At position 0 a chunk is as good, with nothing to see in the history.
  std::set_union(counts_.prefill.begin(), counts_.prefill.end(), counts_.chunk.begin(),
                 counts_.chunk.end(), std::back_inserter(can.prefill_lengths));
  can.outputs = {Want::none, Want::token, Want::logits};
  can.saved_bytes = static_cast<std::int64_t>(2 * model_.layers.size() * model_.kv_row);
  return can;
}

void RowSteps::run(const std::vector<Span>& spans, std::vector<Result>& results,
                   const std::vector<int>& lengths, const CancelFlag& cancel) {
  const std::vector<Pass> passes = plan_rows(spans, counts_);
  Undo undo(runtime_, pool_);
  for (const Pass& pass : passes) {
    for (const Lane& lane : pass.lanes) {
      const int held = lengths[static_cast<std::size_t>(lane.slot)];
      if (held == 0 && lane.pos == 0) pool_.clear(lane.slot);
      const int end = std::min(held, lane.pos + written(pass));
      if (end > lane.pos) undo.keep(lane.slot, lane.pos, end - lane.pos);
    }
  }
  try {
    for (const Pass& pass : passes) {
      compute(pass, cancel);
      heads_.answer(state(static_cast<int>(model_.layers.size())), pass.asked, spans, results);
    }
  } catch (...) {
    runtime_.settle();
    undo.restore();
    throw;
  }
}

StepInputs& RowSteps::fill_inputs(const Pass& pass) {
  StepInputs& inputs = inputs_.at({pass.kind, pass.rows});
  int row = 0;
  for (const Lane& lane : pass.lanes) {
    for (std::size_t t = 0; t < lane.tokens.size(); ++t, ++row) {
      const int history = pass.kind == RowKind::prefill ? 0 : lane.pos;
      inputs.set(row, lane.tokens[t], lane.pos + static_cast<int>(t), history);
    }
  }
  inputs.upload();
  return inputs;
}

void RowSteps::compute(const Pass& pass, const CancelFlag& cancel) {
  runtime_.trace().begin(name_of(pass.kind), pass.rows);
  const StepInputs& rows = fill_inputs(pass);
  runtime_.launch(model_.embedding.at(pass.rows), {rows.ids()}, {state(0)});
  for (int layer = 0; layer < static_cast<int>(model_.layers.size()); ++layer) {
    stop_if(cancel);
    std::vector<View> inputs{state(layer), rows.positions(), rows.mask()};
    std::vector<View> outputs{state(layer + 1)};
    bind(pass, layer, inputs, outputs);
    const RowLayer& nets = model_.layers[static_cast<std::size_t>(layer)];
    runtime_.launch(stages_of(nets, pass.kind).at(pass.rows), inputs, outputs);
  }
}

void RowSteps::bind(const Pass& pass, int layer, std::vector<View>& inputs,
                    std::vector<View>& outputs) const {
  for (const Lane& lane : pass.lanes) {
    if (pass.kind != RowKind::prefill) {
      inputs.push_back(pool_.keys(lane.slot, layer, 0, model_.seq));
      inputs.push_back(pool_.values(lane.slot, layer, 0, model_.seq));
    }
    outputs.push_back(pool_.keys(lane.slot, layer, lane.pos, written(pass)));
    outputs.push_back(pool_.values(lane.slot, layer, lane.pos, written(pass)));
  }
  if (pass.kind != RowKind::decode) return;
  // Rows that are missing in a batch compute what they did before, or nothing yet; their history is
  // any that holds numbers, and what they give goes nowhere.
  const int slot = pass.lanes.front().slot;
  for (int row = static_cast<int>(pass.lanes.size()); row < pass.rows; ++row) {
    inputs.push_back(pool_.keys(slot, layer, 0, model_.seq));
    inputs.push_back(pool_.values(slot, layer, 0, model_.seq));
    outputs.push_back(nowhere_.part(0, model_.kv_row));
    outputs.push_back(nowhere_.part(model_.kv_row, model_.kv_row));
  }
}

}  // namespace glmd::bm1684x
