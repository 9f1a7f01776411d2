// Keys and values of all conversations where nets are told which rows to read and to write.
//
// A slot has, for each layer, its keys and then its values, a row [kv_heads, head_dim] for each
// position, position p in row p. A net reads the first S rows and writes the new ones where they
// belong. It computes as many rows as it was made for: those behind the last token land behind the
// slot's length, where nobody sees them, or behind row S, where there is room for as many.
//
// A hidden row still takes part in a product, and what a mask can hide of it has bounds: no NaN, no
// sum of rows beyond F16. So a slot is zeroed before another conversation comes into it, and has
// nothing behind the conversation's end but what that has written itself.
#pragma once

#include <vector>

#include "bm1684x/runtime.h"

namespace glmd::bm1684x {

struct PoolShape {
  int layers = 0;
  int rows = 0;               // of a slot: S, and what nets may write behind it
  std::size_t row_bytes = 0;  // of a position's keys, and of its values
};

class KvPool {
 public:
  // Throws Error when the chip has no room.
  KvPool(Runtime& runtime, const PoolShape& shape, int slots);

  static std::size_t slot_bytes(const PoolShape& shape);

  int layers() const { return shape_.layers; }
  int slots() const { return static_cast<int>(memory_.size()); }

  // n rows of a slot's keys, and of its values, from `first` on.
  View keys(int slot, int layer, int first, int n) const { return rows(slot, layer, 0, first, n); }
  View values(int slot, int layer, int first, int n) const {
    return rows(slot, layer, 1, first, n);
  }

  void clear(int slot);

  // The first n positions; all else in the slot that they come to is zeroed.
  void copy(int from, int to, int n);
  void save(int slot, int n, std::uint8_t* to);
  void restore(int slot, int n, const std::uint8_t* from);

 private:
  View rows(int slot, int layer, int half, int first, int n) const;

  Runtime& runtime_;
  PoolShape shape_;
  std::vector<DeviceMemory> memory_;  // per slot
};

// Rows in use that a step overwrites, kept until it has gone well.
class Undo {
 public:
  Undo(Runtime& runtime, const KvPool& pool) : runtime_(runtime), pool_(pool) {}

  void keep(int slot, int first, int n);
  void restore();

 private:
  // Rows [first, first + n) of each layer's keys and values, in this order.
  struct Kept {
    int slot, first, n;
    DeviceMemory memory;
  };

  // Calls copy(rows in the pool, rows kept) for each layer.
  template <class Copy>
  void each(const Kept& kept, Copy copy) const;

  Runtime& runtime_;
  const KvPool& pool_;
  std::vector<Kept> kept_;
};

}  // namespace glmd::bm1684x
