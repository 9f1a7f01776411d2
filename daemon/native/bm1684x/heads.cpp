#include "bm1684x/heads.h"

#include <string>

#include "bm1684x/choice.h"

namespace glmd::bm1684x {
namespace {

// Memory for tensors, on the devices where the net has them.
std::vector<DeviceMemory> allocate(Runtime& runtime, const std::vector<Port>& ports,
                                   std::size_t first = 0) {
  std::vector<DeviceMemory> memory;
  for (std::size_t i = first; i < ports.size(); ++i) {
    memory.push_back(runtime.allocate(ports[i].device, ports[i].bytes));
  }
  return memory;
}

std::vector<View> views(const std::vector<DeviceMemory>& memory) {
  std::vector<View> all;
  for (const DeviceMemory& one : memory) all.push_back(one.view());
  return all;
}

bool has(const Graph& graph) { return !graph.net.empty(); }

}  // namespace

Heads::Heads(Runtime& runtime, const Features& model)
    : runtime_(runtime), model_(model), lm_out_(allocate(runtime, model.lm_head.outputs)) {
  if (has(model.greedy_head)) {
    token_ = runtime.allocate(0, model.greedy_head.outputs.front().bytes);
  }
  if (has(model.penalty_head)) {
    penalty_in_ = allocate(runtime, model.penalty_head.inputs, 1);
    penalty_out_ = allocate(runtime, model.penalty_head.outputs);
  }
}

std::vector<Want> Heads::outputs() const {
  std::vector<Want> outputs{Want::none, Want::token};
  if (has(model_.penalty_head)) outputs.push_back(Want::candidates);
  if (model_.gives_logits()) outputs.push_back(Want::logits);
  return outputs;
}

void Heads::answer(const std::vector<View>& hidden, const Span& span, Result& result) {
  launch_lm_head(hidden);
  if (span.want == Want::candidates) {
    candidates(span.head, result);
  } else if (span.want == Want::logits) {
    runtime_.wait();
    runtime_.download(0, result.logits, lm_out_.front().view());
  } else {
    result.token = token();
  }
}

void Heads::launch_lm_head(const std::vector<View>& hidden) {
  std::vector<View> inputs;
  for (const Port& port : model_.lm_head.inputs) {
    inputs.push_back(hidden[static_cast<std::size_t>(port.device)]);
  }
  runtime_.launch(model_.lm_head, inputs, views(lm_out_));
}

std::int32_t Heads::token() {
  std::int32_t token = -1;
  if (model_.gives_logits() && !has(model_.greedy_head)) {
    std::vector<float> logits(static_cast<std::size_t>(model_.vocab));
    runtime_.wait();
    runtime_.download(0, logits.data(), lm_out_.front().view());
    return greatest(logits.data(), model_.vocab);
  }
  if (model_.gives_logits()) {
    runtime_.launch(model_.greedy_head, {lm_out_.front().view()}, {token_.view()});
  }
  runtime_.wait();
  if (!model_.gives_logits()) {
    runtime_.download(0, &token, lm_out_.front().view());
    return checked_id(token, model_.vocab);
  }
  runtime_.download(0, &token, token_.view());
  return checked_choice(runtime_, token, lm_out_.front().view());
}

void Heads::candidates(const HeadSettings& settings, Result& result) {
  const Graph& head = model_.penalty_head;
  for (std::size_t i = 1; i < head.inputs.size(); ++i) {
    const Port& port = head.inputs[i];
    const View to = penalty_in_[i - 1].view();
    const auto put = [&](auto value) { runtime_.upload(port.device, to, &value); };
    if (port.name.find("input_ids") != std::string::npos) {
      // The net takes a fixed number of ids. An id that comes twice counts once.
      const std::int32_t last = settings.n > 0 ? settings.history[settings.n - 1] : 0;
      std::vector<std::int32_t> ids(port.bytes / sizeof(std::int32_t), last);
      std::copy(settings.history, settings.history + settings.n, ids.begin());
      runtime_.upload(port.device, to, ids.data());
    } else if (port.name.find("top_p") != std::string::npos) {
      put(settings.top_p);
    } else if (port.name.find("top_k") != std::string::npos) {
      put(static_cast<std::int32_t>(head.outputs.front().dim(-1)));
    } else if (port.name.find("temperature") != std::string::npos) {
      put(settings.temperature);
    } else {
      put(settings.n > 0 ? settings.penalty : 1.0F);
    }
  }
  std::vector<View> inputs = views(penalty_in_);
  inputs.insert(inputs.begin(), lm_out_.front().view());
  runtime_.launch(head, inputs, views(penalty_out_));
  runtime_.wait();
  const Port& ids = head.outputs.back();
  result.candidate_probs.resize(ids.bytes / sizeof(std::int32_t));
  result.candidate_ids.resize(ids.bytes / sizeof(std::int32_t));
  runtime_.download(0, result.candidate_probs.data(), penalty_out_.front().view());
  runtime_.download(0, result.candidate_ids.data(), penalty_out_.back().view());
}

}  // namespace glmd::bm1684x
