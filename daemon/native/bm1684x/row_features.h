// What a bmodel can do whose nets compute rows of any conversations, each given where its keys and
// values lie: pieces of a prompt in several lengths, and one more token of several conversations.
#pragma once

#include <map>
#include <vector>

#include "bm1684x/runtime.h"

namespace glmd::bm1684x {

// The stages of a net, or of nets that differ in this alone, by the rows that they compute.
using Stages = std::map<int, Graph>;

// The shortest that takes n rows, else the longest.
const Graph& fitting(const Stages& stages, int n);

std::vector<int> rows_of(const Stages& stages);  // ascending

// One layer. S is the length of a history, L and B are rows.
struct RowLayer {
  Stages prefill;  // states [L,H], position ids, mask [L,L] -> states, K, V [L,kv]; may be empty
  Stages chunk;    // the same with a mask [L,S+L] and K, V [S,kv] of what is before
  Stages decode;   // states [B,H], position ids, mask [B,S+1], and K, V for each row
};

struct RowFeatures {
  Stages embedding;  // ids [1,n] -> states [n,H]
  std::vector<RowLayer> layers;
  Stages lm_head;      // states [n,H] -> logits f32 [n,V]
  Stages greedy_head;  // logits -> ids [n,1]; may be empty
  Stages top_head;     // logits -> the greatest f32 [n,C], descending, and their ids; may be empty

  int seq = 0;  // S
  int hidden = 0;
  int vocab = 0;
  int candidates = 0;  // C; 0 without top_head
  int kv_heads = 0;
  int head_dim = 0;
  std::size_t state_bytes = 0;  // of a row
  std::size_t kv_row = 0;       // bytes of a position's keys, and of its values

  // Whether these nets are meant to be such.
  static bool are_in(const std::vector<Net>& nets);
};

// Throws Error saying what was found and what was expected when these nets cannot be served.
RowFeatures read_row_features(const std::vector<Net>& nets, int devices);

}  // namespace glmd::bm1684x
