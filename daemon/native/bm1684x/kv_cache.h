// Keys and values of all conversations, on the chips.
//
// A *set* is the cache of one conversation: for each layer, keys and values of its positions, one
// row [kv_heads, head_dim] after the other, position p always in the same place. A decode net is
// given an address inside the set to read from and one to write to:
//
//   new_row   reads rows 0..S-1, writes its one row at n
//   shifted   reads the S rows that end before position n, and writes the S rows that end with it:
//             one row further on. All but the last are the bytes that stand there already, so the
//             cache stays in place, and nothing is moved when a conversation is cut, copied or
//             prefilled. S rows of zeros lie in front of position 0.
#pragma once

#include <vector>

#include "bm1684x/features.h"

namespace glmd::bm1684x {

class KvCache {
 public:
  struct Place {
    View keys;
    View values;
  };

  // Throws Error when the chips have no room.
  KvCache(Runtime& runtime, const Features& model, int sets);

  // Bytes that a set takes on each device.
  static std::size_t set_bytes(const Features& model, int device);

  Place for_prefill(int set, int layer, int device) const;      // where K and V of a prompt go
  Place to_read(int set, int layer, int device, int n) const;   // for a token at position n
  Place to_write(int set, int layer, int device, int n) const;  // of the token at position n

  // The first n positions.
  void copy(int from, int to, int n);
  void save(int set, int n, std::uint8_t* to);
  void restore(int set, int n, const std::uint8_t* from);

 private:
  // Calls use(device, rows) for keys and values of each layer on each device.
  template <class Use>
  void each(int set, int n, Use use) const;
  Place rows(int set, int layer, int device, int first, int n) const;

  Runtime& runtime_;
  int layers_;
  int seq_;
  bool shifted_;
  std::vector<std::size_t> row_bytes_;             // per device
  std::vector<std::vector<DeviceMemory>> memory_;  // per set and device
};

}  // namespace glmd::bm1684x
