// What the host tells a net about the rows of a step: ids, position ids, and which positions each
// row sees. It lies on the chip from step to step, and only what has changed is uploaded.
#pragma once

#include <cstdint>
#include <vector>

#include "bm1684x/runtime.h"

namespace glmd::bm1684x {

// Memory on the chip with a copy on the host, where it is changed.
class Mirror {
 public:
  Mirror(Runtime& runtime, std::size_t bytes);

  // Entries [first, first + n) become `value`.
  template <class T>
  void fill(std::size_t offset, std::size_t first, std::size_t n, T value);

  void upload();  // what has been changed
  View part(std::size_t offset, std::size_t bytes) const { return memory_.part(offset, bytes); }

 private:
  struct Range {
    std::size_t begin, end;
  };

  Runtime& runtime_;
  DeviceMemory memory_;
  std::vector<std::uint8_t> bytes_;
  std::vector<Range> changed_;
};

// The inputs of the nets with `rows` rows that see `history` positions of a cache, and of the
// `fresh` tokens of the step those up to their own (their own alone where there is one of each).
class StepInputs {
 public:
  StepInputs(Runtime& runtime, int rows, int history, int fresh);

  int rows() const { return static_cast<int>(seen_.size()); }

  // Row `row` has this id at this position, and sees the first `seen` of the history.
  void set(int row, std::int32_t id, int position, int seen);

  void upload() { mirror_.upload(); }
  View ids() const { return mirror_.part(0, ids_bytes()); }
  View positions() const { return mirror_.part(positions_, ids_bytes()); }
  View mask() const { return mirror_.part(mask_, mask_bytes()); }

 private:
  std::size_t ids_bytes() const { return seen_.size() * sizeof(std::int32_t); }
  std::size_t mask_bytes() const { return seen_.size() * wide_ * sizeof(std::uint16_t); }

  std::size_t history_;
  std::size_t wide_;  // entries in a row of the mask: the history's and the step's own
  std::size_t positions_;
  std::size_t mask_;
  std::vector<int> seen_;  // per row
  Mirror mirror_;
};

}  // namespace glmd::bm1684x
