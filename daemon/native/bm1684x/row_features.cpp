#include "bm1684x/row_features.h"

#include <algorithm>
#include <string>

#include "bm1684x/refuse.h"

namespace glmd::bm1684x {
namespace {

using std::to_string;

constexpr std::size_t kMaskBytes = 2;  // f16, added

// The stages of all nets with one of these names.
Stages stages_of(const std::vector<Net>& nets, const std::vector<std::string>& names) {
  Stages stages;
  for (const Net& net : nets) {
    if (std::find(names.begin(), names.end(), net.name) == names.end()) continue;
    for (const Graph& graph : net.stages) stages[graph.rows()] = graph;
  }
  return stages;
}

// What the tensors of a net have to be: elements and type of each.
struct Expected {
  int type;
  std::size_t bytes;
};

void check(const std::vector<Port>& ports, const std::vector<Expected>& expected,
           const Graph& graph, const std::string& words) {
  bool same = ports.size() == expected.size();
  for (std::size_t i = 0; same && i < ports.size(); ++i) {
    same = ports[i].type == expected[i].type && ports[i].bytes == expected[i].bytes;
  }
  if (!same) unexpected(graph, words);
}

// Checks nets against the sizes in `model`.
class Check {
 public:
  explicit Check(const RowFeatures& model)
      : model_(model), kv_(model.layers.front().decode.begin()->second.inputs[3].type) {}

  void embedding(int n, const Graph& graph) const {
    check(graph.inputs, {ids(n)}, graph, "int32 ids of " + to_string(n) + " tokens in");
    check(graph.outputs, {states(n)}, graph, "as many hidden states out");
  }

  // `history` positions of `lanes` conversations are seen by each of n rows besides `fresh` others.
  void layer(int n, const Graph& graph, int history, int fresh, int lanes) const {
    const auto mask = static_cast<std::size_t>(n) * static_cast<std::size_t>(history + fresh);
    std::vector<Expected> in{states(n), ids(n), {sophon::kFloat16, mask * kMaskBytes}};
    std::vector<Expected> out{states(n)};
    for (int i = 0; i < 2 * std::max(lanes, 1); ++i) {
      if (lanes > 0) in.push_back(rows(history));
      out.push_back(rows(fresh));
    }
    const std::string before =
        lanes > 0 ? ", keys and values of " + to_string(history) + " positions before" : "";
    check(graph.inputs, in, graph,
          "hidden states, int32 position ids and an added mask in f16 for " + to_string(n) +
              " rows" + before);
    check(graph.outputs, out, graph, "hidden states and the new keys and values out");
  }

  void head(int n, const Graph& graph) const {
    check(graph.inputs, {states(n)}, graph, to_string(n) + " hidden states as the layers give");
    check(graph.outputs, {logits(n)}, graph, "f32 logits out");
  }

  void greedy(int n, const Graph& graph) const {
    check(graph.inputs, {logits(n)}, graph, "the logits of lm_head in");
    check(graph.outputs, {ids(n)}, graph, "an int32 id for each row out");
  }

  void top(int n, const Graph& graph) const {
    check(graph.inputs, {logits(n)}, graph, "the logits of lm_head in");
    const Expected found = ids(n * model_.candidates);
    check(graph.outputs, {{sophon::kFloat32, found.bytes}, found}, graph,
          "f32 logits and their int32 ids, " + to_string(model_.candidates) + " a row, out");
  }

 private:
  static Expected ids(int n) {
    return {sophon::kInt32, static_cast<std::size_t>(n) * sizeof(std::int32_t)};
  }
  Expected states(int n) const {
    return {sophon::kFloat16, static_cast<std::size_t>(n) * model_.state_bytes};
  }
  Expected rows(int n) const { return {kv_, static_cast<std::size_t>(n) * model_.kv_row}; }
  Expected logits(int n) const {
    const auto items = static_cast<std::size_t>(n) * static_cast<std::size_t>(model_.vocab);
    return {sophon::kFloat32, items * sizeof(float)};
  }

  const RowFeatures& model_;
  int kv_;  // type of keys and values
};

void read_layers(const std::vector<Net>& nets, RowFeatures& model) {
  for (int i = 0;; ++i) {
    const std::string number = "_" + to_string(i);
    std::vector<std::string> decodes;
    for (const Net& net : nets) {
      // decode_I takes one conversation, decode8_I eight: they differ in the number of inputs.
      const std::string digits = "0123456789";
      const std::size_t end = net.name.find_first_not_of(digits, 6);
      if (net.name.compare(0, 6, "decode") == 0 && end != std::string::npos &&
          net.name.substr(end) == number) {
        decodes.push_back(net.name);
      }
    }
    const RowLayer layer{stages_of(nets, {"prefill" + number}), stages_of(nets, {"chunk" + number}),
                         stages_of(nets, decodes)};
    if (layer.decode.empty() && layer.chunk.empty()) break;
    model.layers.push_back(layer);
  }
  const auto counts = [](const RowLayer& layer) {
    return std::vector<std::vector<int>>{rows_of(layer.prefill), rows_of(layer.chunk),
                                         rows_of(layer.decode)};
  };
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    if (model.layers[i].decode.empty() || model.layers[i].chunk.empty() ||
        counts(model.layers[i]) != counts(model.layers.front())) {
      refuse("layer " + to_string(i) +
             " has not the nets of layer 0: decode_I and chunk_I in the same lengths everywhere, "
             "and prefill_I in all or none");
    }
  }
}

void read_sizes(RowFeatures& model) {
  const Graph& decode = model.layers.front().decode.begin()->second;
  if (decode.inputs.size() < 5 || decode.inputs[3].rank() < 3 || model.lm_head.empty()) {
    unexpected(decode, "an lm_head, and keys and values [S,heads,dim] in a net that decodes");
  }
  const Port& keys = decode.inputs[3];
  const Port& states = decode.inputs[0];
  model.hidden = states.dim(-1);
  model.state_bytes = states.bytes / static_cast<std::size_t>(decode.rows());
  model.kv_heads = keys.dim(-2);
  model.head_dim = keys.dim(-1);
  model.seq = keys.dim(0);
  model.kv_row = keys.bytes / static_cast<std::size_t>(model.seq);
  model.vocab = model.lm_head.begin()->second.outputs.front().dim(-1);
  if (model.top_head.empty()) return;
  model.candidates = model.top_head.begin()->second.outputs.front().dim(-1);
}

void check_all(const RowFeatures& model) {
  const Check check(model);
  for (const auto& [n, graph] : model.embedding) check.embedding(n, graph);
  for (const auto& [n, graph] : model.lm_head) check.head(n, graph);
  for (const auto& [n, graph] : model.greedy_head) check.greedy(n, graph);
  for (const auto& [n, graph] : model.top_head) check.top(n, graph);
  const auto embeds = [&](int n) {
    if (model.embedding.count(n) == 0) {
      refuse("embedding has no stage for " + to_string(n) + " ids, which the layers compute");
    }
  };
  for (const RowLayer& layer : model.layers) {
    for (const auto& [n, graph] : layer.prefill) check.layer(n, graph, 0, n, 0), embeds(n);
    for (const auto& [n, graph] : layer.chunk) check.layer(n, graph, model.seq, n, 1), embeds(n);
    for (const auto& [n, graph] : layer.decode) check.layer(n, graph, model.seq, 1, n), embeds(n);
    if (!layer.prefill.empty() && layer.prefill.rbegin()->first > model.seq) {
      unexpected(layer.prefill.rbegin()->second,
                 "a prompt of no more than " + to_string(model.seq) + " tokens");
    }
  }
}

}  // namespace

const Graph& fitting(const Stages& stages, int n) {
  const auto found = stages.lower_bound(n);
  return found == stages.end() ? stages.rbegin()->second : found->second;
}

std::vector<int> rows_of(const Stages& stages) {
  std::vector<int> rows;
  for (const auto& [n, graph] : stages) rows.push_back(n);
  return rows;
}

bool RowFeatures::are_in(const std::vector<Net>& nets) {
  return std::any_of(nets.begin(), nets.end(), [](const Net& net) {
    return net.name == "chunk_0" || net.name == "decode_0";
  });
}

RowFeatures read_row_features(const std::vector<Net>& nets, int devices) {
  if (devices != 1) {
    refuse("nets that compute rows of any conversations are served on one device, and " +
           to_string(devices) + " were given");
  }
  RowFeatures model;
  model.embedding = stages_of(nets, {"embedding"});
  model.lm_head = stages_of(nets, {"lm_head"});
  model.greedy_head = stages_of(nets, {"greedy_head"});
  model.top_head = stages_of(nets, {"top_head"});
  read_layers(nets, model);
  read_sizes(model);
  check_all(model);
  return model;
}

}  // namespace glmd::bm1684x
