// The greatest logits of several rows, picked on the chip: a few hundred bytes to download in place
// of a row of the vocabulary.
#pragma once

#include <cstdint>
#include <vector>

#include "bm1684x/row_features.h"
#include "engine.h"

namespace glmd::bm1684x {

class TopHead {
 public:
  TopHead(Runtime& runtime, const RowFeatures& model);

  // Whether what this span wants may be answered from the candidates of `rows` rows.
  bool serves(const Span& span, int rows) const;

  void launch(int rows, const View& logits);
  void download();  // what was launched, once it is done

  // Writes the candidates of a row into `logits`, float32 [vocab], and -inf in place of all else.
  // False, with nothing written, where they do not hold for certain the `keep` greatest and all
  // that equals the least of these, or are none: then only the row itself tells.
  bool fill(int row, int keep, float* logits) const;

 private:
  bool decide(const std::vector<float>& values, const std::vector<std::int32_t>& ids,
              int keep) const;

  Runtime& runtime_;
  const RowFeatures& model_;
  std::size_t count_;               // candidates of a row
  std::size_t bytes_ = 0;           // of all values that were launched last, and of all ids
  DeviceMemory memory_;             // the values, and behind them the ids
  std::vector<std::uint8_t> host_;  // the same
};

}  // namespace glmd::bm1684x
