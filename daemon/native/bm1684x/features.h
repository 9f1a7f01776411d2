// What a bmodel can do, read from its nets: names, shapes, types. No family of bmodels is known by
// name; docs/bm1684x.md lists the forms.
#pragma once

#include <string>
#include <vector>

#include "bm1684x/runtime.h"

namespace glmd::bm1684x {

// What a decode net gives for keys and values.
enum class KvOutput {
  new_row,  // the new position's
  shifted,  // the whole cache, the oldest position dropped and the new one last
};

// How a mask says that a position is hidden.
enum class MaskForm {
  added,  // f16: -10000 is added to its score
  flags,  // f32: 1 is hidden, 0 is seen
};

// One layer: the net for a prompt and the net for one more token.
struct Layer {
  Graph prefill;  // hidden, position ids, mask -> hidden, K, V
  Graph decode;   // hidden, position ids, mask, K, V -> hidden, K, V
};

// What the nets of a layer have on one device. The first has all. The others are like it, or take
// nothing there and give no more than the hidden state, as where only the MLP is split.
struct Part {
  bool takes = false;      // inputs, and gives K and V
  std::size_t kv_row = 0;  // bytes of a position's keys, and of its values
};

// The model as its nets describe it.
struct Features {
  Graph embed_prefill;  // ids [1,S] -> hidden
  Graph embed_decode;   // ids [1,1] -> hidden
  std::vector<Layer> layers;
  Graph lm_head;  // hidden [1,H] -> logits [1,V], or the most likely id [1,1]

  // Nets without a `net` are not there.
  Graph greedy_head;   // logits -> id
  Graph penalty_head;  // logits, ids, settings -> probabilities, ids

  int devices = 1;
  std::vector<Part> parts;  // per device
  int seq = 0;              // S: positions of a prompt and of the cache
  int hidden = 0;           // H
  int vocab = 0;            // V; 0 where only token ids come out
  int kv_heads = 0;
  int head_dim = 0;
  KvOutput kv_output = KvOutput::new_row;
  MaskForm mask = MaskForm::added;

  bool gives_logits() const { return vocab > 0; }
};

// Throws Error saying what was found and what was expected when these nets cannot be served.
Features read_features(const std::vector<Net>& nets, int devices);

}  // namespace glmd::bm1684x
