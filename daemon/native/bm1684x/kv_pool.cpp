#include "bm1684x/kv_pool.h"

namespace glmd::bm1684x {

std::size_t KvPool::slot_bytes(const PoolShape& shape) {
  const auto rows = static_cast<std::size_t>(shape.rows);
  return 2 * static_cast<std::size_t>(shape.layers) * rows * shape.row_bytes;
}

KvPool::KvPool(Runtime& runtime, const PoolShape& shape, int slots)
    : runtime_(runtime), shape_(shape) {
  for (int i = 0; i < slots; ++i) memory_.push_back(runtime.allocate(0, slot_bytes(shape)));
}

View KvPool::rows(int slot, int layer, int half, int first, int n) const {
  const std::size_t before =
      static_cast<std::size_t>(2 * layer + half) * static_cast<std::size_t>(shape_.rows);
  return memory_[static_cast<std::size_t>(slot)].part(
      (before + static_cast<std::size_t>(first)) * shape_.row_bytes,
      static_cast<std::size_t>(n) * shape_.row_bytes);
}

void KvPool::clear(int slot) { runtime_.clear(memory_[static_cast<std::size_t>(slot)]); }

void KvPool::copy(int from, int to, int n) {
  if (n == 0) return;
  clear(to);
  for (int layer = 0; layer < shape_.layers; ++layer) {
    runtime_.copy(0, keys(from, layer, 0, n), keys(to, layer, 0, n));
    runtime_.copy(0, values(from, layer, 0, n), values(to, layer, 0, n));
  }
}

void KvPool::save(int slot, int n, std::uint8_t* to) {
  for (int layer = 0; n > 0 && layer < shape_.layers; ++layer) {
    for (const View& from : {keys(slot, layer, 0, n), values(slot, layer, 0, n)}) {
      runtime_.download(0, to, from);
      to += from.memory.size;
    }
  }
}

void KvPool::restore(int slot, int n, const std::uint8_t* from) {
  if (n > 0) clear(slot);
  for (int layer = 0; n > 0 && layer < shape_.layers; ++layer) {
    for (const View& to : {keys(slot, layer, 0, n), values(slot, layer, 0, n)}) {
      runtime_.upload(0, to, from);
      from += to.memory.size;
    }
  }
}

template <class Copy>
void Undo::each(const Kept& kept, Copy copy) const {
  std::size_t offset = 0;
  for (int layer = 0; layer < pool_.layers(); ++layer) {
    for (const View& rows : {pool_.keys(kept.slot, layer, kept.first, kept.n),
                             pool_.values(kept.slot, layer, kept.first, kept.n)}) {
      copy(rows, kept.memory.part(offset, rows.memory.size));
      offset += rows.memory.size;
    }
  }
}

void Undo::keep(int slot, int first, int n) {
  const std::size_t bytes = pool_.keys(slot, 0, first, n).memory.size;
  const auto halves = 2 * static_cast<std::size_t>(pool_.layers());
  kept_.push_back({slot, first, n, runtime_.allocate(0, halves * bytes)});
  each(kept_.back(), [&](const View& rows, const View& to) { runtime_.copy(0, rows, to); });
}

void Undo::restore() {
  for (const Kept& kept : kept_) {
    each(kept, [&](const View& rows, const View& from) { runtime_.copy(0, from, rows); });
  }
}

}  // namespace glmd::bm1684x
