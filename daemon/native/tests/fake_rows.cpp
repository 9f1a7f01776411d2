#include "tests/fake_rows.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tests/fake_sophon.h"

namespace glmd::test {
namespace {

using namespace glmd::bm1684x::sophon;

constexpr int kLayers = 2;
constexpr std::uint16_t kSeen = 0, kHidden = 0xF0E2;

struct Kv {
  std::uint16_t key, value;
};

std::uint16_t number(int value) {
  const auto wrapped = static_cast<std::uint16_t>(value);
  return wrapped == kNan ? 0 : wrapped;
}

std::uint16_t embedded(std::int32_t id) { return number(id * 211 + 5); }

Kv kv(std::uint16_t state, int position, int layer) {
  return {number(state * 31 + position * 7 + layer), number(state * 17 + position * 101 + 3)};
}

std::uint16_t attended(std::uint16_t state, Kv seen) {
  return number(state + seen.key * 3 + seen.value * 5 + 1);
}

std::int32_t chosen(std::uint16_t state) { return (state >> 3) % kRowVocab; }

template <class T>
T* items(const Tensor& tensor) {
  return reinterpret_cast<T*>(tensor.memory.address);
}

void layer_net(Nets& nets, const std::string& name, int rows, int history, int fresh, int lanes) {
  Stage& net = add_net(nets, name);
  add(net.in, "input_states", kFloat16, 0, {rows, 1});
  add(net.in, "position_ids", kInt32, 0, {1, rows});
  add(net.in, "attention_mask", kFloat16, 0,
      {lanes > 1 ? rows : 1, 1, lanes > 1 ? 1 : rows, history + fresh});
  add(net.out, "hidden_states", kFloat16, 0, {rows, 1});
  for (int lane = 0; lane < lanes; ++lane) {
    for (const char* half : {"k", "v"}) {
      if (history > 0) add(net.in, half, kFloat16, 0, {history, 1, 1});
      add(net.out, half, kFloat16, 0, {fresh, 1, 1});
    }
  }
}

// Row `row` sees what the mask shows of `history` rows and of `fresh` new ones.
std::uint16_t attend(std::uint16_t state, const std::uint16_t* mask, int history, int fresh,
                     const std::uint16_t* const* old, const std::uint16_t* const* made) {
  bool spoilt = false;
  for (int i = 0; i < history + fresh; ++i) {
    const bool is_old = i < history;
    const int at = is_old ? i : i - history;
    const Kv one{(is_old ? old : made)[0][at], (is_old ? old : made)[1][at]};
    spoilt = spoilt || one.key == kNan || one.value == kNan;
    if (mask[i] == kSeen) {
      state = attended(state, one);
    } else if (mask[i] != kHidden) {
      fake_sophon().wrong.emplace_back("a mask holds neither 0 nor -10000");
    }
  }
  return spoilt ? kNan : state;
}

void compute_layer(int layer, bool decode, bool prefill, const Tensor* in, Tensor* out) {
  const int rows = in[0].shape.dims[0];
  const int wide = in[2].shape.dims[3];
  const int history = prefill ? 0 : kRowSeq;
  const int fresh = wide - history;
  const std::vector<std::uint16_t> states(items<std::uint16_t>(in[0]),
                                          items<std::uint16_t>(in[0]) + rows);
  for (int row = 0; row < rows; ++row) {
    const Kv made =
        kv(states[static_cast<std::size_t>(row)], items<std::int32_t>(in[1])[row], layer);
    const int lane = decode ? row : 0;
    items<std::uint16_t>(out[1 + 2 * lane])[decode ? 0 : row] = made.key;
    items<std::uint16_t>(out[2 + 2 * lane])[decode ? 0 : row] = made.value;
  }
  for (int row = 0; row < rows; ++row) {
    const int lane = decode ? row : 0;
    const std::uint16_t* made[] = {items<std::uint16_t>(out[1 + 2 * lane]),
                                   items<std::uint16_t>(out[2 + 2 * lane])};
    const std::uint16_t* old[] = {nullptr, nullptr};
    for (int half = 0; half < 2 && !prefill; ++half) {
      old[half] = items<std::uint16_t>(in[3 + 2 * lane + half]);
    }
    items<std::uint16_t>(out[0])[row] =
        attend(states[static_cast<std::size_t>(row)], items<std::uint16_t>(in[2]) + row * wide,
               history, fresh, old, made);
  }
}

}  // namespace

void describe_rows(Nets& nets) {
  for (const int n : {8, 4, 2, 1}) {
    Stage& embedding = add_net(nets, "embedding");
    add(embedding.in, "input_ids", kInt32, 0, {1, n});
    add(embedding.out, "input_embed", kFloat16, 0, {n, 1});
  }
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string number = "_" + std::to_string(layer);
    for (const int n : kPrefillRows) layer_net(nets, "prefill" + number, n, 0, n, 1);
    for (const int n : kChunkRows) layer_net(nets, "chunk" + number, n, kRowSeq, n, 1);
    for (const int n : kDecodeRows) {
      const std::string width = n == 1 ? "" : std::to_string(n);
      layer_net(nets, "decode" + width + number, n, kRowSeq, 1, n);
    }
  }
  for (const int n : {4, 2, 1}) {
    Stage& head = add_net(nets, "lm_head");
    add(head.in, "hidden_states", kFloat16, 0, {n, 1});
    add(head.out, "m_logits", kFloat32, 0, {n, kRowVocab});
    Stage& greedy = add_net(nets, "greedy_head");
    add(greedy.in, "m_logits", kFloat32, 0, {n, kRowVocab});
    add(greedy.out, "token", kInt32, 0, {n, 1});
    Stage& top = add_net(nets, "top_head");
    add(top.in, "m_logits", kFloat32, 0, {n, kRowVocab});
    add(top.out, "values", kFloat32, 0, {n, kCandidates});
    add(top.out, "ids", kInt32, 0, {n, kCandidates});
  }
}

void compute_rows(const std::string& net, const Tensor* in, Tensor* out) {
  const int rows = in[0].shape.dims[net == "embedding" ? 1 : 0];
  if (net == "embedding") {
    for (int i = 0; i < rows; ++i) {
      items<std::uint16_t>(out[0])[i] = embedded(items<std::int32_t>(in[0])[i]);
    }
  } else if (net == "lm_head") {
    for (int i = 0; i < rows; ++i) {
      const std::uint16_t state = items<std::uint16_t>(in[0])[i];
      for (int id = 0; id < kRowVocab; ++id) {
        items<float>(out[0])[i * kRowVocab + id] =
            state == kNan ? __builtin_nanf("") : logit(id, chosen(state));
      }
    }
  } else if (net == "greedy_head") {
    for (int i = 0; i < rows; ++i) {
      std::int32_t best = -1;
      for (int id = 0; id < kRowVocab; ++id) {
        if (items<float>(in[0])[i * kRowVocab + id] == 1.0F) best = id;
      }
      items<std::int32_t>(out[0])[i] = best;
    }
  } else if (net == "top_head") {
    for (int i = 0; i < rows; ++i) {
      const float* row = items<float>(in[0]) + i * kRowVocab;
      std::vector<std::int32_t> ids(kRowVocab);
      std::iota(ids.begin(), ids.end(), 0);
      std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return row[a] > row[b]; });
      for (int place = 0; place < kCandidates; ++place) {
        const std::int32_t id = ids[static_cast<std::size_t>(place)];
        items<float>(out[0])[i * kCandidates + place] = row[id];
        items<std::int32_t>(out[1])[i * kCandidates + place] = id;
      }
    }
  } else {
    compute_layer(net.back() - '0', net.compare(0, 6, "decode") == 0,
                  net.compare(0, 7, "prefill") == 0, in, out);
  }
}

__attribute__((visibility("default"))) float logit(std::int32_t id, std::int32_t best) {
  const std::int32_t behind = (id - best + kRowVocab) % kRowVocab;
  return behind == 0 ? 1.0F : -static_cast<float>(behind / 2);
}

__attribute__((visibility("default"))) std::vector<std::int32_t> tokens_after(
    const std::vector<std::int32_t>& ids) {
  std::vector<std::uint16_t> states;
  for (const std::int32_t id : ids) states.push_back(embedded(id));
  for (int layer = 0; layer < kLayers; ++layer) {
    std::vector<Kv> made;
    for (std::size_t i = 0; i < states.size(); ++i) {
      made.push_back(kv(states[i], static_cast<int>(i), layer));
    }
    for (std::size_t i = 0; i < states.size(); ++i) {
      for (std::size_t j = 0; j <= i; ++j) states[i] = attended(states[i], made[j]);
    }
  }
  std::vector<std::int32_t> tokens;
  for (const std::uint16_t state : states) tokens.push_back(chosen(state));
  return tokens;
}

}  // namespace glmd::test
