#include "bm1684x/features.h"

#include <algorithm>
#include <map>

namespace glmd::bm1684x {
namespace {

constexpr const char* kSettings[] = {"input_ids", "top_p", "top_k", "temperature", "penalty"};

using NetMap = std::map<std::string, const Net*>;

[[noreturn]] void refuse(const std::string& sentence) {
  throw Error("bmrt_get_network_info", 0, "this bmodel cannot be served: " + sentence);
}

[[noreturn]] void unexpected(const Graph& graph, const std::string& expected) {
  refuse("it has " + graph.text() + ", and " + expected + " was expected");
}

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
    const auto n = static_cast<std::size_t>(model.devices);
    if (graph.inputs.size() != n || graph.outputs.size() != n ||
        graph.inputs.front().type != sophon::kInt32) {
      unexpected(graph, "int32 ids in and the hidden state out, once for each device");
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

void require_ports(const Graph& graph, int devices, std::size_t inputs, std::size_t outputs,
                   const char* expected) {
  const auto n = static_cast<std::size_t>(devices);
  if (graph.inputs.size() == inputs * n && graph.outputs.size() == outputs * n) return;
  unexpected(graph, std::string(expected) + ", once for each of " + std::to_string(devices) +
                        (devices == 1 ? " device" : " devices"));
}

// Checks the tensors of one layer on one device against what the embedding promises.
void check_layer(const Features& model, const Layer& layer, int device) {
  const auto d = static_cast<std::size_t>(device);
  const Graph& prefill = layer.prefill;
  const Graph& decode = layer.decode;
  const Port& state = model.embed_decode.outputs[d];
  const auto seq = static_cast<std::size_t>(model.seq);
  const Port& mask = prefill.inputs[3 * d + 2];
  if (prefill.inputs[3 * d].bytes != state.bytes * seq ||
      prefill.outputs[3 * d].bytes != state.bytes * seq ||
      prefill.inputs[3 * d].type != state.type || prefill.outputs[3 * d].type != state.type ||
      prefill.inputs[3 * d + 1].type != sophon::kInt32 ||
      prefill.inputs[3 * d + 1].bytes != seq * sizeof(std::int32_t) ||
      mask.bytes != seq * seq * (mask.type == sophon::kFloat16 ? 2 : 4)) {
    unexpected(prefill,
               "a hidden state as the embedding gives it, int32 position ids and a mask "
               "for " +
                   std::to_string(seq) + " positions");
  }
  const Port& next_mask = decode.inputs[5 * d + 2];
  const Port& cache = decode.inputs[5 * d + 3];
  if (decode.inputs[5 * d].bytes != state.bytes || decode.outputs[3 * d].bytes != state.bytes ||
      decode.inputs[5 * d].type != state.type || decode.outputs[3 * d].type != state.type ||
      decode.inputs[5 * d + 1].type != sophon::kInt32 ||
      decode.inputs[5 * d + 1].bytes != sizeof(std::int32_t) || next_mask.type != mask.type ||
      next_mask.bytes != mask.bytes / seq / seq * (seq + 1)) {
    unexpected(decode, "one hidden state, one int32 position id and a mask for " +
                           std::to_string(seq + 1) + " positions");
  }
  if (cache.rank() < 2 || decode.inputs[5 * d + 4].bytes != cache.bytes ||
      prefill.outputs[3 * d + 1].bytes != cache.bytes ||
      prefill.outputs[3 * d + 2].bytes != cache.bytes ||
      prefill.outputs[3 * d + 1].type != cache.type || cache.bytes % seq != 0) {
    unexpected(decode, "keys and values as " + prefill.net + " gives them");
  }
}

KvOutput kv_output(const Features& model, const Graph& decode) {
  const std::size_t cache = decode.inputs[3].bytes;
  const std::size_t given = decode.outputs[1].bytes;
  if (decode.outputs[2].bytes == given) {
    if (given == cache) return KvOutput::shifted;
    if (given == cache / static_cast<std::size_t>(model.seq)) return KvOutput::new_row;
  }
  unexpected(decode, "the new row of keys and values or the whole shifted cache");
}

MaskForm mask_form(const Graph& prefill, const std::string& prefix) {
  const int type = prefill.inputs[2].type;
  if (type == sophon::kFloat16) return MaskForm::added;
  // Only the compilers that wrote this prefix gave flags; elsewhere f32 says nothing.
  if (type == sophon::kFloat32 && prefix == "glm_") return MaskForm::flags;
  unexpected(prefill, "a mask in f16");
}

void read_layers(const NetMap& nets, Features& model) {
  const std::string prefix = find(nets, "glm_block_0") != nullptr ? "glm_" : "";
  int n = 0;
  while (find(nets, prefix + "block_" + std::to_string(n)) != nullptr) ++n;
  if (n == 0) refuse("there is no net block_0 among " + names_of(nets));
  for (int i = 0; i < n; ++i) {
    const Layer layer{layer_net(nets, prefix, "block_", i),
                      layer_net(nets, prefix, "block_cache_", i)};
    require_ports(layer.prefill, model.devices, 3, 3,
                  "hidden state, position ids and mask in; hidden state, K and V out");
    require_ports(layer.decode, model.devices, 5, 3,
                  "hidden state, position ids, mask, K and V in; hidden state, K and V out");
    for (int device = 0; device < model.devices; ++device) check_layer(model, layer, device);
    model.layers.push_back(layer);
  }
  const Graph& first = model.layers.front().decode;
  model.kv_output = kv_output(model, first);
  model.mask = mask_form(model.layers.front().prefill, prefix);
  model.head_dim = first.inputs[3].dim(-1);
  for (int device = 0; device < model.devices; ++device) {
    model.kv_heads += first.inputs[static_cast<std::size_t>(5 * device + 3)].dim(-2);
  }
  for (const Layer& layer : model.layers) {
    if (kv_output(model, layer.decode) != model.kv_output ||
        layer.decode.inputs[3].bytes != first.inputs[3].bytes ||
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

}  // namespace

Features read_features(const std::vector<Net>& nets, int devices) {
  NetMap by_name;
  for (const Net& net : nets) by_name[net.name] = &net;
  Features model;
  model.devices = devices;
  const std::size_t compiled_for = require(by_name, "embedding").stages.front().inputs.size();
  if (compiled_for != static_cast<std::size_t>(devices)) {
    refuse("it was compiled for " + std::to_string(compiled_for) +
           (compiled_for == 1 ? " device, and " : " devices, and ") + std::to_string(devices) +
           (devices == 1 ? " was given" : " were given"));
  }
  read_embedding(by_name, model);
  read_layers(by_name, model);
  read_heads(by_name, model);
  return model;
}

}  // namespace glmd::bm1684x
