// Attention of a step's rows over their slots' cached positions, with grouped KV heads.
//
// Positions are taken in tiles of 64 at absolute places. Each tile gives its own softmax and
// weighted sum; tiles are then folded from the left, as in flash attention
// (https://arxiv.org/abs/2205.14135). A query's arithmetic therefore depends on its position alone,
// whoever computes its tiles and whichever queries share the work.
#pragma once

#include <cstddef>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/kv_cache.h"
#include "cpu/shape.h"
#include "cpu/step.h"
#include "cpu/thread_pool.h"

namespace glmd::cpu {

// Rows of a pass that are neighbours in one slot: they share the keys and values they read.
struct QueryBlock {
  int slot = 0;
  int pos = 0;  // of the first
  int row = 0;  // of the first, within the pass
  int n = 0;
};

class Attention {
 public:
  Attention(const Shape& shape, const Kernels& kernels, ThreadPool& pool);

  // Large blocks read the cache less often, small ones leave work for every thread.
  std::vector<QueryBlock> blocks(const Row* rows, int n) const;

  // `queries`: float32 [kv_heads][rows][heads per group][padded head_dim], rotated and scaled.
  // Writes out[row][0 … heads · head_dim).
  void run(const KvCache& cache, int layer, const std::vector<QueryBlock>& blocks,
           const float* queries, int rows, float* out, std::size_t out_stride);

 private:
  // Weighted sums over some positions, not yet divided by `sum`, for each query of a block.
  struct Partial {
    float* values;  // [queries][dim]
    TileStats* stats;
  };
  struct Unit {
    int block;
    int head;
    int tile;  // -1: all of them
  };

  Partial partial(std::size_t i, std::size_t queries);
  void tile(const KvCache& cache, int layer, const QueryBlock& block, int head, int tile,
            const float* queries, float* scores, Partial out) const;
  void fold(Partial into, Partial next, int queries) const;
  void finish(const QueryBlock& block, int head, Partial from, float* out,
              std::size_t out_stride) const;

  Shape shape_;
  const Kernels& kernels_;
  ThreadPool& pool_;
  int group_;                  // query heads that share a KV head
  int max_tokens_;             // of a block
  std::size_t dim_;            // head_dim padded to 8
  std::vector<float> scores_;  // per worker
  std::vector<float> values_;
  std::vector<TileStats> stats_;
};

}  // namespace glmd::cpu
