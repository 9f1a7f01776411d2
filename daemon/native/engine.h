// The contract between the scheduler and whatever runs the model.
//
// A backend owns one loaded model and a fixed number of *slots*. A slot is the KV cache of one
// conversation; `forward` appends tokens to slots and says what the model predicts next. The
// scheduler plans from `capabilities()`; nothing a backend cannot do is discovered by failing.
//
// Threads: one thread calls forward/truncate/copy_prefix/release; `stats` and CancelFlag may be
// used from any thread. None of these functions touches Python objects, so callers hold no GIL.
#pragma once

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace glmd {

// What a span wants to know about the token after its last one. A span may ask for one thing only,
// and only for what Capabilities::outputs lists.
enum class Want : std::uint8_t {
  none,        // nothing: the span only fills the KV cache
  token,       // the most likely id, chosen on the device
  candidates,  // the ids and probabilities of the device's penalty/top-p head
  logits,      // float32 [vocab]
};

// What the device's penalty head is told for Want::candidates. The logits of the ids in `history`
// are divided by `penalty` (multiplied where negative), then all by `temperature`; the most likely
// are kept while their probabilities add up to less than `top_p`.
struct HeadSettings {
  float temperature = 1.0F;  // above 0
  float top_p = 1.0F;
  float penalty = 1.0F;
  const std::int32_t* history = nullptr;  // no more than max_seq
  int n = 0;
};

// `n` tokens appended to `slot` at position `pos`. A `pos` below the slot's length truncates the
// slot to `pos` first. Spans of one slot within a call must be in order and contiguous.
//
// `keep`, where logits are wanted: how many of the greatest matter to whoever asks, with all that
// equal the least of these; 0 for all. A backend that has a cheaper way to these gives -inf in
// place of the others, or of some. A NaN among the others may go unnoticed. The CPU, and bmodels
// without a top_head, give every row whole.
struct Span {
  int slot = 0;
  int pos = 0;
  const std::int32_t* tokens = nullptr;
  int n = 0;
  Want want = Want::none;
  HeadSettings head{};
  int keep = 0;
};

// The answer to the span of the same index. `logits`, when wanted, points to caller-owned room for
// float32 [vocab]; the other fields are written by the backend. On a chip numbers can become too
// large for F16, which is no error of the step: `token` is -1 where no logit is a number, and
// `logits` are what they are. On the CPU only damaged weights do that; it throws.
struct Result {
  std::int32_t token = -1;
  std::vector<std::int32_t> candidate_ids;
  std::vector<float> candidate_probs;
  float* logits = nullptr;
};

struct ModelInfo {
  int layers = 0;
  int hidden = 0;
  int heads = 0;  // 0 where a compiled model does not tell
  int kv_heads = 0;
  int head_dim = 0;
  int vocab = 0;             // padded: the length of a logits row
  int max_seq = 0;           // positions a slot can hold
  std::string quantisation;  // "f16", "int8", "int4"
};

enum class Prefill : std::uint8_t {
  from_zero,  // several tokens at once only at pos 0; behind a prefix one at a time
  chunks,     // behind a prefix up to the longest of Capabilities::chunk_lengths
  any,        // any number of tokens at any position
};

struct Capabilities {
  int slots = 0;                    // conversations whose KV cache is resident
  std::vector<int> decode_batches;  // sequences one step can decode, ascending; {} means any
  Prefill prefill = Prefill::any;
  // Tokens that nets are made for, ascending; {} when any. A span of several is taken up to the
  // longest of its kind and costs what the next longer one does.
  std::vector<int> prefill_lengths;  // at position 0
  std::vector<int> chunk_lengths;    // behind a prefix; {} from_zero
  std::vector<Want> outputs;
  int devices = 0;  // accelerator chips in use; 0 on the CPU
  // Bytes of a position that save() gives; 0 where slots are in host memory already, and there is
  // nothing to save.
  std::int64_t saved_bytes = 0;
};

struct DeviceStats {
  int device = 0;
  std::int64_t memory_total = 0;  // bytes
  std::int64_t memory_used = 0;   // bytes
  float utilisation = -1.0F;      // 0..1, -1 where unknown
  float temperature = -1000.0F;   // degrees Celsius, -1000 where unknown
};

// Set by any thread to end a running `forward` early; the step then counts as failed.
using CancelFlag = std::atomic<bool>;

// What went wrong, in which call, with which device status (0 where there is none).
class Error : public std::runtime_error {
 public:
  Error(std::string call, int status, const std::string& sentence)
      : std::runtime_error(sentence), call_(std::move(call)), status_(status) {}
  const std::string& call() const noexcept { return call_; }
  int status() const noexcept { return status_; }

 private:
  std::string call_;
  int status_;
};

class Cancelled : public Error {
 public:
  Cancelled() : Error("forward", 0, "the step was cancelled") {}
};

class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  virtual ModelInfo info() const = 0;
  virtual Capabilities capabilities() const = 0;

  // One step over all spans at once. On any exception every slot's length is as it was before.
  virtual void forward(const std::vector<Span>& spans, std::vector<Result>& results,
                       const CancelFlag& cancel) = 0;

  virtual int length(int slot) const = 0;                 // tokens held by the slot
  virtual void truncate(int slot, int n) = 0;             // keep the first n positions
  virtual void copy_prefix(int src, int dst, int n) = 0;  // dst := the first n positions of src
  virtual void release(int slot) = 0;                     // forget the slot, give its memory back

  // What a slot holds, to host memory and back, where Capabilities::saved_bytes is not 0: as many
  // bytes for each position. Only this backend with this model understands them. A restore() that
  // fails leaves the slot empty.
  virtual void save(int slot, std::uint8_t* to);
  virtual void restore(int slot, int n, const std::uint8_t* from);  // slot := n positions

  virtual std::vector<DeviceStats> stats() const = 0;
};

inline void Backend::save(int, std::uint8_t*) {
  throw Error("save", 0, "this backend has its slots in host memory");
}

inline void Backend::restore(int, int, const std::uint8_t*) {
  throw Error("restore", 0, "this backend has its slots in host memory");
}

}  // namespace glmd
