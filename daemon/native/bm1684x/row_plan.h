// Which nets carry out a step over many spans, and which rows of them are whose.
#pragma once

#include <vector>

#include "engine.h"

namespace glmd::bm1684x {

// Rows that there are nets for, ascending.
struct RowCounts {
  std::vector<int> prefill;  // may be empty
  std::vector<int> chunk;
  std::vector<int> decode;
};

enum class RowKind { prefill, chunk, decode };

// Tokens of one conversation in a launch: one in a decode, the whole of a piece otherwise.
struct Lane {
  int slot = 0;
  int pos = 0;
  std::vector<std::int32_t> tokens;
};

// What span `span` wants to know is said by the state of row `row`.
struct Asked {
  int row = 0;
  std::size_t span = 0;
};

// One pass through all layers.
struct Pass {
  RowKind kind = RowKind::decode;
  int rows = 0;  // of the nets; those behind the last token are padding
  std::vector<Lane> lanes;
  std::vector<Asked> asked;  // by row
};

// Spans of a slot that follow each other are computed together. What is one token then is decoded,
// in as few passes as possible and each with as few rows; the rest are pieces, behind a prefix or,
// with the shortest net of both kinds, at position 0.
std::vector<Pass> plan_rows(const std::vector<Span>& spans, const RowCounts& counts);

}  // namespace glmd::bm1684x
