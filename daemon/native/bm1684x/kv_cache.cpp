#include "bm1684x/kv_cache.h"

namespace glmd::bm1684x {
namespace {

// Rows of a set's keys in one layer: positions, and the zeros before them.
std::size_t rows_held(const Features& model) {
  return static_cast<std::size_t>(model.seq) * (model.kv_output == KvOutput::shifted ? 2 : 1);
}

}  // namespace

std::size_t KvCache::set_bytes(const Features& model, int device) {
  const std::size_t row = model.parts[static_cast<std::size_t>(device)].kv_row;
  return 2 * model.layers.size() * rows_held(model) * row;
}

KvCache::KvCache(Runtime& runtime, const Features& model, int sets)
    : runtime_(runtime),
      layers_(static_cast<int>(model.layers.size())),
      seq_(model.seq),
      shifted_(model.kv_output == KvOutput::shifted) {
  for (const Part& part : model.parts) row_bytes_.push_back(part.kv_row);
  memory_.resize(static_cast<std::size_t>(sets));
  for (auto& set : memory_) {
    for (int device = 0; device < model.devices; ++device) {
      const std::size_t bytes = set_bytes(model, device);
      set.push_back(bytes > 0 ? runtime.allocate(device, bytes) : DeviceMemory());
    }
  }
}

KvCache::Place KvCache::rows(int set, int layer, int device, int first, int n) const {
  const std::size_t row = row_bytes_[static_cast<std::size_t>(device)];
  const auto held = static_cast<std::size_t>(shifted_ ? 2 * seq_ : seq_);
  const auto at = [&](int half) {
    const std::size_t before = static_cast<std::size_t>(2 * layer + half) * held;
    return memory_[static_cast<std::size_t>(set)][static_cast<std::size_t>(device)].part(
        (before + static_cast<std::size_t>(first)) * row, static_cast<std::size_t>(n) * row);
  };
  return {at(0), at(1)};
}

KvCache::Place KvCache::for_prefill(int set, int layer, int device) const {
  return rows(set, layer, device, shifted_ ? seq_ : 0, seq_);
}

KvCache::Place KvCache::to_read(int set, int layer, int device, int n) const {
  return rows(set, layer, device, shifted_ ? n : 0, seq_);
}

KvCache::Place KvCache::to_write(int set, int layer, int device, int n) const {
  return shifted_ ? rows(set, layer, device, n + 1, seq_) : rows(set, layer, device, n, 1);
}

template <class Use>
void KvCache::each(int set, int n, Use use) const {
  if (n == 0) return;
  const int first = shifted_ ? seq_ : 0;
  for (int layer = 0; layer < layers_; ++layer) {
    for (int device = 0; device < static_cast<int>(row_bytes_.size()); ++device) {
      if (row_bytes_[static_cast<std::size_t>(device)] == 0) continue;
      const Place place = rows(set, layer, device, first, n);
      use(device, place.keys);
      use(device, place.values);
    }
  }
}

void KvCache::copy(int from, int to, int n) {
  std::vector<View> sources;
  each(from, n, [&](int, const View& rows) { sources.push_back(rows); });
  auto source = sources.begin();
  each(to, n, [&](int device, const View& rows) { runtime_.copy(device, *source++, rows); });
}

void KvCache::save(int set, int n, std::uint8_t* to) {
  each(set, n, [&](int device, const View& rows) {
    runtime_.download(device, to, rows);
    to += rows.memory.size;
  });
}

void KvCache::restore(int set, int n, const std::uint8_t* from) {
  each(set, n, [&](int device, const View& rows) {
    runtime_.upload(device, rows, from);
    from += rows.memory.size;
  });
}

}  // namespace glmd::bm1684x
