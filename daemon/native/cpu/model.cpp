#include "cpu/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/half.h"

namespace glmd::cpu {
namespace {

constexpr int kPassRows = 128;  // rows that go through the layers together
constexpr int kHeadRows = 32;   // rows that go through the head together
constexpr int kSegment = 1024;  // columns of an activation that one thread takes

std::size_t index(int i) { return static_cast<std::size_t>(i); }

// The most likely id, the lower one of equals.
std::int32_t argmax(const float* logits, int n) {
  std::int32_t best = -1;
  float largest = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < n; ++i) {
    if (logits[i] > largest) {
      largest = logits[i];
      best = i;
    }
  }
  if (best < 0) throw Error("forward", 0, "no logit is a number: the weights must be damaged");
  return best;
}

}  // namespace

Model::Model(const Weights& weights, const Kernels& kernels, ThreadPool& pool)
    : shape_(weights.shape()),
      kernels_(kernels),
      pool_(pool),
      attention_(shape_, kernels, pool),
      embedding_(weights.matrix(kEmbedding)),
      head_(weights.matrix(kHead)),
      final_norm_(weights.vector(kFinalNorm)) {
  for (int i = 0; i < shape_.layers; ++i) {
    const auto matrix = [&](const char* name) { return weights.matrix(layer_tensor(i, name)); };
    const auto vector = [&](const char* name) { return weights.vector(layer_tensor(i, name)); };
    layers_.push_back({matrix(kQkv), matrix(kDense), matrix(kGateUp), matrix(kDown),
                       vector(kInputNorm), vector(kPostNorm), vector(kQkvBias)});
  }
  // As in the reference, the frequencies are float32: at long contexts their rounding matters.
  const int rotary = shape_.rotary_dim();
  for (int i = 0; i < rotary; i += 2) {
    const double exponent = static_cast<double>(i) / rotary;
    const auto power =
        static_cast<float>(std::pow(static_cast<double>(shape_.rope_base), exponent));
    frequencies_.push_back(1.0F / power);
  }
}

void Model::reserve(int rows) {
  if (rows <= capacity_) return;
  const std::size_t n = index(rows);
  const std::size_t dim = round_up(index(shape_.head_dim), 8);
  hidden_.assign(n * padded(shape_.hidden), 0.0F);
  added_.assign(n * padded(shape_.hidden), 0.0F);
  normed_.assign(n * padded(shape_.hidden), 0.0F);
  qkv_.assign(n * padded(shape_.qkv_dim()) + 8, 0.0F);  // the last head is read in full vectors
  attended_.assign(n * padded(shape_.query_dim()), 0.0F);
  wide_.assign(n * padded(2 * shape_.ffn), 0.0F);
  activated_.assign(n * padded(shape_.ffn), 0.0F);
  logits_.assign(std::min(n, index(kHeadRows)) * padded(shape_.vocab), 0.0F);
  queries_.assign(n * index(shape_.heads) * dim, 0.0F);
  rotations_.assign(n * index(shape_.rotary_dim()), 0.0F);
  const std::size_t widest =
      std::max({padded(shape_.hidden), padded(shape_.query_dim()), padded(shape_.ffn)});
  quants_.assign(n * widest, 0);
  quant_scales_.assign(n * widest / kBlock, 0.0F);
  quant_sums_.assign(n * widest / kBlock, 0);
  key_values_.assign(index(pool_.threads()) * 2 * dim, 0);
  capacity_ = rows;
}

void Model::run(const Step& step, const std::vector<Span>& spans, std::vector<Result>& results,
                KvCache& cache, const CancelFlag& cancel) {
  const int total = static_cast<int>(step.rows.size());
  reserve(std::min(total, kPassRows));
  for (int first = 0; first < total; first += kPassRows) {
    const Row* rows = step.rows.data() + first;
    const int n = std::min(kPassRows, total - first);
    const std::vector<QueryBlock> blocks = attention_.blocks(rows, n);
    embed(rows, n);
    for (int layer = 0; layer < shape_.layers; ++layer) {
      if (cancel.load(std::memory_order_relaxed)) throw Cancelled();
      const Layer& weights = layers_[index(layer)];
      add_and_norm(n, layer > 0, weights.input_norm, weights.qkv);
      attention_block(weights, layer, rows, n, blocks, cache);
      add_and_norm(n, true, weights.post_norm, weights.gate_up);
      feed_forward(weights, n);
    }
    head(rows, n, spans, results);
  }
}

void Model::embed(const Row* rows, int n) {
  const auto* table = reinterpret_cast<const std::uint16_t*>(embedding_.data);
  const std::size_t stride = padded(shape_.hidden);
  const int pairs = static_cast<int>(frequencies_.size());
  pool_.run(n, [&](int, int row) {
    const std::uint16_t* embedding = table + index(rows[row].token) * index(shape_.hidden);
    float* hidden = hidden_.data() + index(row) * stride;
    for (int i = 0; i < shape_.hidden; ++i) hidden[i] = half_to_float(embedding[i]);
    float* rotation = rotations_.data() + index(row * pairs * 2);
    for (int i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(rows[row].pos) * frequencies_[index(i)];
      rotation[2 * i] = std::cos(angle);
      rotation[2 * i + 1] = std::sin(angle);
    }
  });
}

void Model::quantise(const Matrix& next, const std::vector<float>& x, int row) {
  if (!wants_quantised(next)) return;
  const std::size_t width = padded(next.cols);
  const std::size_t at = index(row) * width;
  kernels_.quantise(x.data() + at, width, quants_.data() + at, quant_scales_.data() + at / kBlock,
                    quant_sums_.data() + at / kBlock);
}

void Model::product(const Matrix& w, const std::vector<float>& x, int n, std::vector<float>& out) {
  const std::size_t width = padded(w.cols);
  const Activations activations{
      x.data(),
      width,
      {quants_.data(), quant_scales_.data(), quant_sums_.data(), width, width / kBlock}};
  matmul(kernels_, pool_, w, activations, n, out.data(), padded(w.rows));
}

void Model::add_and_norm(int n, bool residual, const std::vector<float>& weight,
                         const Matrix& next) {
  const std::size_t width = padded(shape_.hidden);
  pool_.run(n, [&](int, int row) {
    float* hidden = hidden_.data() + index(row) * width;
    if (residual) kernels_.add(hidden, added_.data() + index(row) * width, width);
    kernels_.rms_norm(hidden, weight.data(), shape_.norm_eps, index(shape_.hidden), width,
                      normed_.data() + index(row) * width);
    quantise(next, normed_, row);
  });
}

void Model::attention_block(const Layer& weights, int layer, const Row* rows, int n,
                            const std::vector<QueryBlock>& blocks, KvCache& cache) {
  product(weights.qkv, normed_, n, qkv_);
  rotate_and_store(weights, layer, rows, n, cache);
  attention_.run(cache, layer, blocks, queries_.data(), n, attended_.data(),
                 padded(shape_.query_dim()));
  if (wants_quantised(weights.dense)) {
    pool_.run(n, [&](int, int row) { quantise(weights.dense, attended_, row); });
  }
  product(weights.dense, attended_, n, added_);
}

void Model::rotate_and_store(const Layer& weights, int layer, const Row* rows, int n,
                             KvCache& cache) {
  const std::size_t width = padded(shape_.qkv_dim());
  const std::size_t dim = cache.dim();
  const std::size_t head_dim = index(shape_.head_dim);
  const std::size_t group = index(shape_.heads_per_group());
  const std::size_t pairs = frequencies_.size();
  const float scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));

  pool_.run(n, [&](int worker, int row) {
    float* qkv = qkv_.data() + index(row) * width;
    kernels_.add(qkv, weights.qkv_bias.data(), width);
    const float* rotation = rotations_.data() + index(row) * pairs * 2;
    const auto rotate = [&](float* head) {
      for (std::size_t i = 0; i < pairs; ++i) {
        const float cosine = rotation[2 * i];
        const float sine = rotation[2 * i + 1];
        const float even = head[2 * i];
        const float odd = head[2 * i + 1];
        head[2 * i] = even * cosine - odd * sine;
        head[2 * i + 1] = odd * cosine + even * sine;
      }
    };
    for (std::size_t h = 0; h < index(shape_.heads); ++h) {
      float* head = qkv + h * head_dim;
      rotate(head);
      const std::size_t kv_head = h / group;
      float* query =
          queries_.data() + ((kv_head * index(n) + index(row)) * group + h % group) * dim;
      for (std::size_t d = 0; d < head_dim; ++d) query[d] = head[d] * scale;
      std::fill(query + head_dim, query + dim, 0.0F);
    }
    std::uint16_t* key = key_values_.data() + index(worker) * 2 * dim;
    std::uint16_t* value = key + dim;
    for (std::size_t h = 0; h < index(shape_.kv_heads); ++h) {
      float* head = qkv + index(shape_.query_dim()) + h * head_dim;
      rotate(head);
      kernels_.to_half(head, dim, key);
      kernels_.to_half(head + shape_.kv_dim(), dim, value);
      std::fill(key + head_dim, key + dim, std::uint16_t{0});
      std::fill(value + head_dim, value + dim, std::uint16_t{0});
      cache.write(rows[row].slot, layer, static_cast<int>(h), rows[row].pos, key, value);
    }
  });
}

void Model::feed_forward(const Layer& weights, int n) {
  product(weights.gate_up, normed_, n, wide_);
  const std::size_t width = padded(shape_.ffn);
  const int segments = (static_cast<int>(width) + kSegment - 1) / kSegment;
  pool_.run(n * segments, [&](int, int chunk) {
    const std::size_t row = index(chunk / segments);
    const std::size_t from = index(chunk % segments) * kSegment;
    const std::size_t count = std::min<std::size_t>(kSegment, width - from);
    const std::size_t real = std::min(count, index(shape_.ffn) - std::min(from, index(shape_.ffn)));
    const float* gate = wide_.data() + row * padded(2 * shape_.ffn) + from;
    float* out = activated_.data() + row * width + from;
    // The last vector may run over the end of the row: its lanes are overwritten below.
    kernels_.silu_mul(gate, gate + shape_.ffn, round_up(real, 8), out);
    std::fill(out + real, out + count, 0.0F);
    if (!wants_quantised(weights.down)) return;
    const std::size_t at = row * width + from;
    kernels_.quantise(out, count, quants_.data() + at, quant_scales_.data() + at / kBlock,
                      quant_sums_.data() + at / kBlock);
  });
  product(weights.down, activated_, n, added_);
}

void Model::head(const Row* rows, int n, const std::vector<Span>& spans,
                 std::vector<Result>& results) {
  const std::size_t width = padded(shape_.hidden);
  std::vector<int> wanted;
  for (int row = 0; row < n; ++row) {
    if (rows[row].output >= 0) wanted.push_back(row);
  }
  for (std::size_t first = 0; first < wanted.size(); first += kHeadRows) {
    const int count = static_cast<int>(std::min<std::size_t>(kHeadRows, wanted.size() - first));
    pool_.run(count, [&](int, int i) {
      const std::size_t row = index(wanted[first + index(i)]) * width;
      kernels_.add(hidden_.data() + row, added_.data() + row, width);
      kernels_.rms_norm(hidden_.data() + row, final_norm_.data(), shape_.norm_eps,
                        index(shape_.hidden), width, normed_.data() + index(i) * width);
      quantise(head_, normed_, i);
    });
    product(head_, normed_, count, logits_);
    for (int i = 0; i < count; ++i) {
      const std::size_t span = index(rows[wanted[first + index(i)]].output);
      const float* logits = logits_.data() + index(i) * padded(shape_.vocab);
      if (spans[span].want == Want::logits) {
        std::copy_n(logits, shape_.vocab, results[span].logits);
      } else {
        results[span].token = argmax(logits, shape_.vocab);
      }
    }
  }
}

}  // namespace glmd::cpu
