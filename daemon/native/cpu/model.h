// The ChatGLM3 forward pass over the rows of a step.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/attention.h"
#include "cpu/kernels.h"
#include "cpu/kv_cache.h"
#include "cpu/matmul.h"
#include "cpu/step.h"
#include "cpu/thread_pool.h"
#include "cpu/weights.h"
#include "engine.h"

namespace glmd::cpu {

class Model {
 public:
  // Every tensor must be there, see Weights::missing().
  Model(const Weights& weights, const Kernels& kernels, ThreadPool& pool);

  // Runs all rows, writing their keys and values to `cache`, and fills in the results of the rows
  // that have an output. Throws Cancelled between two layers. Memory for activations is bounded:
  // long steps run in passes.
  void run(const Step& step, const std::vector<Span>& spans, std::vector<Result>& results,
           KvCache& cache, const CancelFlag& cancel);

 private:
  struct Layer {
    Matrix qkv, dense, gate_up, down;
    std::vector<float> input_norm, post_norm, qkv_bias;
  };

  void reserve(int rows);
  void embed(const Row* rows, int n);
  void attention_block(const Layer& weights, int layer, const Row* rows, int n,
                       const std::vector<QueryBlock>& blocks, KvCache& cache);
  void feed_forward(const Layer& weights, int n);
  void head(const Row* rows, int n, const std::vector<Span>& spans, std::vector<Result>& results);

  // hidden_ += added_ if `residual`, then the norm into normed_, ready for products with `next`.
  void add_and_norm(int n, bool residual, const std::vector<float>& weight, const Matrix& next);
  void rotate_and_store(const Layer& weights, int layer, const Row* rows, int n, KvCache& cache);
  void product(const Matrix& w, const std::vector<float>& x, int n, std::vector<float>& out);
  void quantise(const Matrix& next, const std::vector<float>& x, int row);

  Shape shape_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  Attention attention_;
  std::vector<Layer> layers_;
  Matrix embedding_, head_;
  std::vector<float> final_norm_;
  std::vector<float> frequencies_;  // of the rotated pairs

  // Float rows, each padded(width) wide.
  int capacity_ = 0;
  std::vector<float> hidden_, added_, normed_, qkv_, attended_, wide_, activated_, logits_;
  std::vector<float> queries_;    // see Attention::run
  std::vector<float> rotations_;  // cosine and sine of each pair, per row
  std::vector<std::int8_t> quants_;
  std::vector<float> quant_scales_;
  std::vector<std::int32_t> quant_sums_;
  std::vector<std::uint16_t> key_values_;  // one key and one value row per worker
};

}  // namespace glmd::cpu
