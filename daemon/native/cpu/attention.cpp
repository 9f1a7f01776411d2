#include "cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace glmd::cpu {
namespace {

constexpr int kTile = 64;
constexpr int kMaxQueries = 96;     // rows of scores a unit works on: they stay in the L2 cache
constexpr int kUnitsPerThread = 4;  // enough that a slow thread is not waited for
constexpr std::size_t kPartialBytes = 64U << 20;  // that the tiles of a pass may leave for folding

int tiles_of(const QueryBlock& block) { return (block.pos + block.n - 1) / kTile + 1; }

std::size_t index(int i) { return static_cast<std::size_t>(i); }

}  // namespace

Attention::Attention(const Shape& shape, const Kernels& kernels, ThreadPool& pool)
    : shape_(shape),
      kernels_(kernels),
      pool_(pool),
      group_(shape.heads_per_group()),
      max_tokens_(std::max(1, kMaxQueries / group_)),
      dim_(round_up(index(shape.head_dim), 8)),
      scores_(index(pool.threads()) * index(max_tokens_ * group_) * kTile) {}

std::vector<QueryBlock> Attention::blocks(const Row* rows, int n) const {
  const int share = n * shape_.kv_heads / (kUnitsPerThread * pool_.threads());
  const int largest = std::clamp(share, 1, max_tokens_);
  std::vector<QueryBlock> blocks;
  for (int row = 0; row < n; ++row) {
    if (!blocks.empty()) {
      QueryBlock& last = blocks.back();
      if (last.slot == rows[row].slot && last.pos + last.n == rows[row].pos && last.n < largest) {
        ++last.n;
        continue;
      }
    }
    blocks.push_back({rows[row].slot, rows[row].pos, row, 1});
  }
  return blocks;
}

Attention::Partial Attention::partial(std::size_t i, std::size_t queries) {
  return {values_.data() + i * queries * dim_, stats_.data() + i * queries};
}

void Attention::tile(const KvCache& cache, int layer, const QueryBlock& block, int head, int tile,
                     const float* queries, float* scores, Partial out) const {
  const int start = tile * kTile;
  const int seen = std::min(kTile, block.pos + block.n - start);  // by the last query
  const int rows = block.n * group_;
  kernels_.dot_half(queries, dim_, rows, cache.keys(block.slot, layer, head, start), (seen + 7) / 8,
                    dim_, scores, kTile);
  for (int row = 0; row < rows; ++row) {
    const int count = std::min(kTile, block.pos + row / group_ - start + 1);
    float* line = scores + row * kTile;
    if (count > 0) {
      out.stats[row] = kernels_.softmax_tile(line, count, kTile);
    } else {  // the tile lies behind this query
      out.stats[row] = {-std::numeric_limits<float>::infinity(), 0.0F};
      std::fill_n(line, kTile, 0.0F);
    }
  }
  kernels_.dot_half(scores, kTile, rows, cache.values(block.slot, layer, head, start),
                    static_cast<int>(dim_ / 8), index(seen), out.values, dim_);
}

void Attention::fold(Partial into, Partial next, int queries) const {
  for (int i = 0; i < queries; ++i) {
    TileStats& a = into.stats[i];
    const TileStats& b = next.stats[i];
    if (b.sum == 0.0F) continue;
    const float max = std::max(a.max, b.max);
    const float keep = std::exp(a.max - max);
    const float take = std::exp(b.max - max);
    a = {max, a.sum * keep + b.sum * take};
    kernels_.blend(into.values + index(i) * dim_, keep, next.values + index(i) * dim_, take, dim_);
  }
}

void Attention::finish(const QueryBlock& block, int head, Partial from, float* out,
                       std::size_t out_stride) const {
  const int width = shape_.head_dim;
  for (int i = 0; i < block.n * group_; ++i) {
    const float* values = from.values + index(i) * dim_;
    const float scale = 1.0F / from.stats[i].sum;
    float* target = out + index(block.row + i / group_) * out_stride +
                    index((head * group_ + i % group_) * width);
    for (int d = 0; d < width; ++d) target[d] = values[d] * scale;
  }
}

void Attention::run(const KvCache& cache, int layer, const std::vector<QueryBlock>& blocks,
                    const float* queries, int rows, float* out, std::size_t out_stride) {
  const int heads = shape_.kv_heads;
  std::size_t queries_per_block = 0;
  std::size_t tiles_of_all = 0;
  for (const QueryBlock& block : blocks) {
    queries_per_block = std::max(queries_per_block, index(block.n * group_));
    tiles_of_all += index(tiles_of(block) * heads);
  }
  // With few queries the tiles themselves are shared out, else each block goes through its own.
  const bool by_tile =
      static_cast<int>(blocks.size()) * heads < kUnitsPerThread * pool_.threads() &&
      tiles_of_all * queries_per_block * dim_ * sizeof(float) <= kPartialBytes;
  std::vector<Unit> units;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    for (int head = 0; head < heads; ++head) {
      const int tiles = by_tile ? tiles_of(blocks[b]) : 1;
      for (int t = 0; t < tiles; ++t)
        units.push_back({static_cast<int>(b), head, by_tile ? t : -1});
    }
  }
  const std::size_t partials = by_tile ? units.size() : 2 * index(pool_.threads());
  const std::size_t lines = partials * queries_per_block;
  if (stats_.size() < lines) {
    stats_.resize(lines);
    values_.resize(lines * dim_);
  }
  const auto room = [&](std::size_t i) { return partial(i, queries_per_block); };
  const auto query = [&](const QueryBlock& block, int head) {
    return queries + (index(head) * index(rows) + index(block.row)) * index(group_) * dim_;
  };

  pool_.run(static_cast<int>(units.size()), [&](int worker, int i) {
    const Unit& unit = units[index(i)];
    const QueryBlock& block = blocks[index(unit.block)];
    const float* q = query(block, unit.head);
    float* scores = scores_.data() + index(worker * max_tokens_ * group_) * kTile;
    if (by_tile) {
      return tile(cache, layer, block, unit.head, unit.tile, q, scores, room(index(i)));
    }
    const Partial total = room(2 * index(worker));
    const Partial next = room(2 * index(worker) + 1);
    tile(cache, layer, block, unit.head, 0, q, scores, total);
    for (int t = 1; t < tiles_of(block); ++t) {
      tile(cache, layer, block, unit.head, t, q, scores, next);
      fold(total, next, block.n * group_);
    }
    finish(block, unit.head, total, out, out_stride);
  });
  if (!by_tile) return;

  std::vector<std::size_t> firsts;
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (units[i].tile == 0) firsts.push_back(i);
  }
  pool_.run(static_cast<int>(firsts.size()), [&](int, int i) {
    const std::size_t first = firsts[index(i)];
    const QueryBlock& block = blocks[index(units[first].block)];
    const Partial total = room(first);
    for (int t = 1; t < tiles_of(block); ++t) {
      fold(total, room(first + index(t)), block.n * group_);
    }
    finish(block, units[first].head, total, out, out_stride);
  });
}

}  // namespace glmd::cpu
