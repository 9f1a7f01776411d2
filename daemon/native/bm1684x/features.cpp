#include "bm1684x/features.h"

#include <algorithm>
#include <map>

#include "bm1684x/refuse.h"

namespace glmd::bm1684x {
namespace {

constexpr const char* kSettings[] = {"input_ids", "top_p", "top_k", "temperature", "penalty"};

using NetMap = std::map<std::string, const Net*>;

std::string names_of(const NetMap& nets) {
  std::string names;
  for (const auto& [name, net] : nets) names += (names.empty() ? "" : ", ") + name;
  return names;
}

const Net* find(const NetMap& nets, const std::string& name) {
  const auto found = nets.find(name);
  return found == nets.end() ? nullptr : found->second;
}

const Net& require(const NetMap& nets, const std::string& name) {
  const Net* net = find(nets, name);
  if (net == nullptr) refuse("there is no net " + name + " among " + names_of(nets));
  return *net;
}

const Graph& only_stage(const Net& net) {
  if (net.stages.size() == 1) return net.stages.front();
  refuse("net " + net.name + " was compiled for " + std::to_string(net.stages.size()) +
         " sets of shapes, and one was expected");
}

// One net of layer i under its present or its older name.
const Graph& layer_net(const NetMap& nets, const std::string& prefix, const std::string& kind,
                       int i) {
  return only_stage(require(nets, prefix + kind + std::to_string(i)));
}

// The embedding has a net for prompts and one for single tokens, or one net with both stages.
void read_embedding(const NetMap& nets, Features& model) {
  std::vector<Graph> stages = require(nets, "embedding").stages;
  if (const Net* single = find(nets, "embedding_cache")) {
    stages.insert(stages.end(), single->stages.begin(), single->stages.end());
  }
  const auto ids = [](const Graph& graph) { return graph.inputs.front().bytes; };
  std::sort(stages.begin(), stages.end(),
            [&](const Graph& a, const Graph& b) { return ids(a) < ids(b); });
  if (stages.size() != 2 || ids(stages.front()) != sizeof(std::int32_t)) {
    unexpected(stages.back(), "one embedding for a single token and one for a prompt");
  }
  model.embed_decode = stages.front();
  model.embed_prefill = stages.back();
  for (const Graph& graph : stages) {
    const auto ids_in = [&](const Port& port) {
      return port.order == 0 && port.type == sophon::kInt32 &&
             port.bytes == graph.inputs.front().bytes;
    };
    const auto state_out = [&](const Port& port) {
      return port.order == 0 && port.bytes == graph.outputs.front().bytes;
    };
    if (!std::all_of(graph.inputs.begin(), graph.inputs.end(), ids_in) ||
        !std::all_of(graph.outputs.begin(), graph.outputs.end(), state_out) ||
        graph.outputs.front().device != 0) {
      unexpected(graph, "int32 ids in and the hidden state out, on each device at most once");
    }
  }
  const Port& hidden = model.embed_decode.outputs.front();
  model.seq = static_cast<int>(ids(model.embed_prefill) / sizeof(std::int32_t));
  model.hidden = hidden.dim(-1);
  if (model.embed_prefill.outputs.front().bytes !=
      hidden.bytes * static_cast<std::size_t>(model.seq)) {
    unexpected(model.embed_prefill, "a hidden state of the same width as in embedding_cache");
  }
}

int count_on(const std::vector<Port>& ports, int device) {
  return static_cast<int>(std::count_if(ports.begin(), ports.end(),
                                        [&](const Port& port) { return port.device == device; }));
}

// Checks how many tensors a layer's net has on each device.
void check_counts(const Features& model, const Graph& graph, int inputs, const char* expected) {
  for (int device = 0; device < model.devices; ++device) {
    const int in = count_on(graph.inputs, device);
    const int out = count_on(graph.outputs, device);
    const bool takes = model.parts[static_cast<std::size_t>(device)].takes;
    if (takes ? in == inputs && out == 3 : in == 0 && out <= 1) continue;
    unexpected(graph, std::string(expected) + " on device " + std::to_string(device) +
                          (device == 0 ? "" : ", or at most the hidden state out"));
  }
}

// Checks the tensors of one layer on one device that takes inputs against what the embedding
// promises.
void check_layer(const Features& model, const Layer& layer, int device) {
  const Graph& prefill = layer.prefill;
  const Graph& decode = layer.decode;
  const Port& state = model.embed_decode.outputs.front();
  const auto seq = static_cast<std::size_t>(model.seq);
  const auto p_in = [&](int i) -> const Port& { return *find_port(prefill.inputs, device, i); };
  const auto p_out = [&](int i) -> const Port& { return *find_port(prefill.outputs, device, i); };
  const auto d_in = [&](int i) -> const Port& { return *find_port(decode.inputs, device, i); };
  const auto is_state = [&](const Port& port, std::size_t rows) {
    return port.bytes == state.bytes * rows && port.type == state.type;
  };
  const Port& mask = p_in(2);
  if (!is_state(p_in(0), seq) || p_in(1).type != sophon::kInt32 ||
      p_in(1).bytes != seq * sizeof(std::int32_t) ||
      mask.bytes != seq * seq * (mask.type == sophon::kFloat16 ? 2 : 4)) {
    unexpected(prefill,
               "a hidden state as the embedding gives it, int32 position ids and a mask "
               "for " +
                   std::to_string(seq) + " positions");
  }
  const Port& next_mask = d_in(2);
  const Port& cache = d_in(3);
  if (!is_state(d_in(0), 1) || d_in(1).type != sophon::kInt32 ||
      d_in(1).bytes != sizeof(std::int32_t) || next_mask.type != mask.type ||
      next_mask.bytes != mask.bytes / seq / seq * (seq + 1)) {
    unexpected(decode, "one hidden state, one int32 position id and a mask for " +
                           std::to_string(seq + 1) + " positions");
  }
  if (cache.rank() < 2 || d_in(4).bytes != cache.bytes || p_out(1).bytes != cache.bytes ||
      p_out(2).bytes != cache.bytes || p_out(1).type != cache.type || cache.bytes % seq != 0) {
    unexpected(decode, "keys and values as " + prefill.net + " gives them");
  }
}

void check_states(const Features& model, const Layer& layer) {
  const Port& state = model.embed_decode.outputs.front();
  for (const Graph* graph : {&layer.prefill, &layer.decode}) {
    const std::size_t rows = graph == &layer.decode ? 1 : static_cast<std::size_t>(model.seq);
    for (const Port& port : graph->outputs) {
      if (port.order != 0 || (port.bytes == state.bytes * rows && port.type == state.type))
        continue;
      unexpected(*graph, "a hidden state out as the embedding gives it");
    }
  }
}

KvOutput kv_output(const Features& model, const Graph& decode) {
  const std::size_t cache = find_port(decode.inputs, 0, 3)->bytes;
  const std::size_t given = find_port(decode.outputs, 0, 1)->bytes;
  if (find_port(decode.outputs, 0, 2)->bytes == given) {
    if (given == cache) return KvOutput::shifted;
    if (given == cache / static_cast<std::size_t>(model.seq)) return KvOutput::new_row;
  }
  unexpected(decode, "the new row of keys and values or the whole shifted cache");
}

MaskForm mask_form(const Graph& prefill, const std::string& prefix) {
  const int type = find_port(prefill.inputs, 0, 2)->type;
  if (type == sophon::kFloat16) return MaskForm::added;
  // Only the compilers that wrote this prefix gave flags; elsewhere f32 says nothing.
  if (type == sophon::kFloat32 && prefix == "glm_") return MaskForm::flags;
  unexpected(prefill, "a mask in f16");
}

bool same_keys(const Graph& one, const Graph& other, int devices) {
  for (int device = 0; device < devices; ++device) {
    const Port* keys = find_port(one.inputs, device, 3);
    const Port* others = find_port(other.inputs, device, 3);
    if ((keys == nullptr ? 0 : keys->bytes) != (others == nullptr ? 0 : others->bytes))
      return false;
  }
  return true;
}

void read_layers(const NetMap& nets, Features& model) {
  const std::string prefix = find(nets, "glm_block_0") != nullptr ? "glm_" : "";
  int n = 0;
  while (find(nets, prefix + "block_" + std::to_string(n)) != nullptr) ++n;
  if (n == 0) refuse("there is no net block_0 among " + names_of(nets));
  const Graph& first_cache = layer_net(nets, prefix, "block_cache_", 0);
  for (int device = 0; device < model.devices; ++device) {
    model.parts.push_back({device == 0 || count_on(first_cache.inputs, device) > 0, 0});
  }
  for (int i = 0; i < n; ++i) {
    const Layer layer{layer_net(nets, prefix, "block_", i),
                      layer_net(nets, prefix, "block_cache_", i)};
    check_counts(model, layer.prefill, 3,
                 "hidden state, position ids and mask in; hidden state, K and V out");
    check_counts(model, layer.decode, 5,
                 "hidden state, position ids, mask, K and V in; hidden state, K and V out");
    check_states(model, layer);
    for (int device = 0; device < model.devices; ++device) {
      if (model.parts[static_cast<std::size_t>(device)].takes) check_layer(model, layer, device);
    }
    model.layers.push_back(layer);
  }
  const Graph& first = model.layers.front().decode;
  model.kv_output = kv_output(model, first);
  model.mask = mask_form(model.layers.front().prefill, prefix);
  model.head_dim = find_port(first.inputs, 0, 3)->dim(-1);
  for (int device = 0; device < model.devices; ++device) {
    if (const Port* keys = find_port(first.inputs, device, 3)) {
      model.kv_heads += keys->dim(-2);
      model.parts[static_cast<std::size_t>(device)].kv_row =
          keys->bytes / static_cast<std::size_t>(model.seq);
    }
  }
  for (const Layer& layer : model.layers) {
    if (kv_output(model, layer.decode) != model.kv_output ||
        !same_keys(layer.decode, first, model.devices) ||
        mask_form(layer.prefill, prefix) != model.mask) {
      unexpected(layer.decode, "a layer like " + first.text());
    }
  }
}

// The settings of a penalty head are known by the names of its inputs, in any order.
void check_settings(const Graph& head) {
  for (std::size_t i = 1; i < head.inputs.size(); ++i) {
    const std::string& name = head.inputs[i].name;
    const bool known = std::any_of(std::begin(kSettings), std::end(kSettings), [&](auto setting) {
      return name.find(setting) != std::string::npos;
    });
    if (!known)
      unexpected(head,
                 "no other settings than input_ids, top_p, top_k, temperature and "
                 "penalty");
  }
}

void read_heads(const NetMap& nets, Features& model) {
  model.lm_head = only_stage(require(nets, "lm_head"));
  const Port& state = model.embed_decode.outputs.front();
  const Port& out = model.lm_head.outputs.front();
  if (model.lm_head.inputs.front().bytes != state.bytes ||
      model.lm_head.inputs.front().type != state.type) {
    unexpected(model.lm_head, "one hidden state as the blocks give it");
  }
  if (out.device != 0) unexpected(model.lm_head, "its first output on the first device");
  if (out.type == sophon::kInt32 && out.bytes == sizeof(std::int32_t)) return;
  if (out.type != sophon::kFloat32) unexpected(model.lm_head, "f32 logits or one token id");
  model.vocab = out.dim(-1);
  if (const Net* greedy = find(nets, "greedy_head")) model.greedy_head = only_stage(*greedy);
  for (const char* name : {"penalty_sample_head", "sample_head"}) {
    if (const Net* head = find(nets, name)) model.penalty_head = only_stage(*head);
  }
  check_settings(model.penalty_head);
  for (const Graph* head : {&model.greedy_head, &model.penalty_head}) {
    if (!head->net.empty() &&
        (head->inputs.front().bytes != out.bytes || head->outputs.back().type != sophon::kInt32)) {
      unexpected(*head, "the logits of lm_head in and int32 ids out");
    }
  }
}

int devices_of(const std::vector<Net>& nets) {
  int most = 0;
  for (const Net& net : nets) {
    for (const Graph& stage : net.stages) {
      for (const Port& port : stage.inputs) most = std::max(most, port.device);
      for (const Port& port : stage.outputs) most = std::max(most, port.device);
    }
  }
  return most + 1;
}

// A net that is launched with the hidden state needs it where it was put.
void check_flow(const Features& model) {
  const auto flows = [&](const Graph& from, const Graph& to) {
    for (const Port& port : to.inputs) {
      if (port.order == 0 && find_port(from.outputs, port.device, 0) == nullptr) {
        unexpected(from, "a hidden state on device " + std::to_string(port.device) + ", where " +
                             to.net + " takes it");
      }
    }
  };
  const Layer* before = nullptr;
  for (const Layer& layer : model.layers) {
    flows(before == nullptr ? model.embed_prefill : before->prefill, layer.prefill);
    flows(before == nullptr ? model.embed_decode : before->decode, layer.decode);
    before = &layer;
  }
  flows(before->prefill, model.lm_head);
  flows(before->decode, model.lm_head);
}

}  // namespace

Features read_features(const std::vector<Net>& nets, int devices) {
  NetMap by_name;
  for (const Net& net : nets) by_name[net.name] = &net;
  Features model;
  model.devices = devices;
  const int compiled_for = devices_of(nets);
  if (compiled_for != devices) {
    refuse("it was compiled for " + std::to_string(compiled_for) +
           (compiled_for == 1 ? " device, and " : " devices, and ") + std::to_string(devices) +
           (devices == 1 ? " was given" : " were given"));
  }
  read_embedding(by_name, model);
  read_layers(by_name, model);
  read_heads(by_name, model);
  check_flow(model);
  return model;
}

}  // namespace glmd::bm1684x
