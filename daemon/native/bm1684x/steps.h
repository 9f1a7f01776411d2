// How the nets of a bmodel carry out a step of the Backend contract. There is a class for each way
// of working: one conversation at a time (single_steps.h), rows of many at once (row_steps.h).
#pragma once

#include <memory>
#include <vector>

#include "bm1684x/runtime.h"
#include "engine.h"

namespace glmd::bm1684x {

// What the user asked for; 0 where nothing was.
struct Sizes {
  int slots = 0;    // else as many as are likely to be used and fit
  int context = 0;  // positions; else as many as the bmodel has
  int vocab = 0;    // of the tokenizer, for a bmodel that only gives ids
};

class Steps {
 public:
  virtual ~Steps() = default;

  virtual ModelInfo info() const = 0;  // but for the quantisation
  virtual Capabilities capabilities() const = 0;

  // Carries out spans that keep to what capabilities() says, and waits until it is done. `lengths`:
  // positions that each slot holds. Whatever is thrown, these are as they were.
  virtual void run(const std::vector<Span>& spans, std::vector<Result>& results,
                   const std::vector<int>& lengths, const CancelFlag& cancel) = 0;

  // The first n positions of a slot: to another, to the host and back.
  virtual void copy(int from, int to, int n) = 0;
  virtual void save(int slot, int n, std::uint8_t* to) = 0;
  virtual void restore(int slot, int n, const std::uint8_t* from) = 0;
};

// Looks at the nets that are loaded, and allocates all memory there is need for. Throws Error where
// they cannot be served; status 5 where a chip has no room.
std::unique_ptr<Steps> make_steps(Runtime& runtime, const Sizes& sizes);

// Slots to make: as asked, else as many as fit, of `bytes` on each device.
int choose_slots(const Runtime& runtime, int asked, const std::vector<std::size_t>& bytes);

inline void stop_if(const CancelFlag& cancel) {
  if (cancel.load(std::memory_order_relaxed)) throw Cancelled();
}

}  // namespace glmd::bm1684x
