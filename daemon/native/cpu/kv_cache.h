// Keys and values of all slots, in halves.
//
// One slot is one reservation of address space; a page costs memory only once it is written, and
// release() gives all of it back. Within a slot, for each layer and KV head:
//
//   keys    [position / 8][dimension][position % 8]: positions interleaved by 8, so that scores of
//           eight positions are one vector
//   values  [position][dimension]
//
// Dimensions are padded to a multiple of 8 with zeros, positions to a multiple of 8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/shape.h"

namespace glmd::cpu {

class KvCache {
 public:
  // Throws Error when the address space cannot be reserved.
  KvCache(const Shape& shape, int slots, int max_seq);
  ~KvCache();
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  int slots() const { return static_cast<int>(lengths_.size()); }
  int max_seq() const { return max_seq_; }
  int length(int slot) const { return lengths_[static_cast<std::size_t>(slot)]; }
  void set_length(int slot, int n) { lengths_[static_cast<std::size_t>(slot)] = n; }
  std::size_t dim() const { return dim_; }  // padded

  HalfPanel keys(int slot, int layer, int head, int position) const;  // position % 8 == 0
  HalfPanel values(int slot, int layer, int head, int position) const;

  // One position of one layer and head: dim() halves each.
  void write(int slot, int layer, int head, int position, const std::uint16_t* key,
             const std::uint16_t* value);

  void copy_prefix(int src, int dst, int n);
  void release(int slot);

  // The positions [from, to) of all layers, and how to put them back.
  std::vector<std::uint16_t> save(int slot, int from, int to) const;
  void restore(int slot, int from, int to, const std::vector<std::uint16_t>& saved);

 private:
  std::uint16_t* base(int slot, int layer, int head) const;

  std::size_t dim_;
  std::size_t positions_;  // padded
  int layers_;
  int heads_;
  int max_seq_;
  std::size_t slot_bytes_;
  std::uint8_t* memory_ = nullptr;
  std::vector<int> lengths_;
};

}  // namespace glmd::cpu
