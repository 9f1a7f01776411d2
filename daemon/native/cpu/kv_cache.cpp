#include "cpu/kv_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine.h"

namespace glmd::cpu {
namespace {

constexpr std::size_t kInterleave = 8;

std::size_t index(int i) { return static_cast<std::size_t>(i); }

}  // namespace

KvCache::KvCache(const Shape& shape, int slots, int max_seq)
    : dim_(round_up(index(shape.head_dim), kInterleave)),
      positions_(round_up(index(max_seq), kInterleave)),
      layers_(shape.layers),
      heads_(shape.kv_heads),
      max_seq_(max_seq),
      lengths_(index(slots), 0) {
  const std::size_t halves = index(layers_) * index(heads_) * 2 * positions_ * dim_;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  slot_bytes_ = round_up(halves * sizeof(std::uint16_t), page);
  void* memory = mmap(nullptr, slot_bytes_ * index(slots), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error("load", errno,
                "cannot reserve address space for " + std::to_string(slots) + " slots of " +
                    std::to_string(max_seq) + " positions: " + std::strerror(errno) +
                    "; use fewer slots or a shorter context");
  }
  memory_ = static_cast<std::uint8_t*>(memory);
  // A huge page would commit 2 MiB for the first position of every layer and head. Advice only.
  madvise(memory_, slot_bytes_ * index(slots), MADV_NOHUGEPAGE);
}

KvCache::~KvCache() { munmap(memory_, slot_bytes_ * lengths_.size()); }

std::uint16_t* KvCache::base(int slot, int layer, int head) const {
  auto* halves = reinterpret_cast<std::uint16_t*>(memory_ + index(slot) * slot_bytes_);
  return halves + (index(layer) * index(heads_) + index(head)) * 2 * positions_ * dim_;
}

HalfPanel KvCache::keys(int slot, int layer, int head, int position) const {
  return {base(slot, layer, head) + index(position) * dim_, kInterleave * dim_, kInterleave};
}

HalfPanel KvCache::values(int slot, int layer, int head, int position) const {
  return {base(slot, layer, head) + (positions_ + index(position)) * dim_, kInterleave, dim_};
}

void KvCache::write(int slot, int layer, int head, int position, const std::uint16_t* key,
                    const std::uint16_t* value) {
  std::uint16_t* keys = base(slot, layer, head) +
                        index(position) / kInterleave * kInterleave * dim_ +
                        index(position) % kInterleave;
  for (std::size_t d = 0; d < dim_; ++d) keys[d * kInterleave] = key[d];
  std::copy_n(value, dim_, base(slot, layer, head) + (positions_ + index(position)) * dim_);
}

void KvCache::copy_prefix(int src, int dst, int n) {
  for (int layer = 0; layer < layers_; ++layer) {
    for (int head = 0; head < heads_; ++head) {
      const std::uint16_t* from = base(src, layer, head);
      std::uint16_t* to = base(dst, layer, head);
      std::copy_n(from, round_up(index(n), kInterleave) * dim_, to);
      std::copy_n(from + positions_ * dim_, index(n) * dim_, to + positions_ * dim_);
    }
  }
  set_length(dst, n);
}

void KvCache::release(int slot) {
  madvise(memory_ + index(slot) * slot_bytes_, slot_bytes_, MADV_DONTNEED);
  set_length(slot, 0);
}

std::vector<std::uint16_t> KvCache::save(int slot, int from, int to) const {
  std::vector<std::uint16_t> saved;
  saved.reserve(index(to - from) * index(layers_) * index(heads_) * 2 * dim_);
  for (int layer = 0; layer < layers_; ++layer) {
    for (int head = 0; head < heads_; ++head) {
      for (int position = from; position < to; ++position) {
        const HalfPanel keys = this->keys(slot, layer, head, position / 8 * 8);
        for (std::size_t d = 0; d < dim_; ++d) {
          saved.push_back(keys.data[d * kInterleave + index(position) % kInterleave]);
        }
        const std::uint16_t* value = values(slot, layer, head, position).data;
        saved.insert(saved.end(), value, value + dim_);
      }
    }
  }
  return saved;
}

void KvCache::restore(int slot, int from, int to, const std::vector<std::uint16_t>& saved) {
  const std::uint16_t* next = saved.data();
  for (int layer = 0; layer < layers_; ++layer) {
    for (int head = 0; head < heads_; ++head) {
      for (int position = from; position < to; ++position, next += 2 * dim_) {
        write(slot, layer, head, position, next, next + dim_);
      }
    }
  }
}

}  // namespace glmd::cpu
