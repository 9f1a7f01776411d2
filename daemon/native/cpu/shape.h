// The numbers of a ChatGLM3 config that decide shapes and mathematics, and what follows from them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace glmd::cpu {

struct Shape {
  int layers = 0;
  int hidden = 0;
  int ffn = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int vocab = 0;
  float norm_eps = 1e-5F;
  float rope_base = 10000.0F;

  int heads_per_group() const { return heads / kv_heads; }
  int query_dim() const { return heads * head_dim; }
  int kv_dim() const { return kv_heads * head_dim; }
  int qkv_dim() const { return query_dim() + 2 * kv_dim(); }
  int rotary_dim() const { return head_dim / 2; }  // RoPE turns the first half of each head
};

// Throws std::invalid_argument when the numbers do not describe a ChatGLM3.
void check_shape(const Shape& shape);

// A tensor that a model of this shape must have. Vectors have cols == 0.
struct TensorSpec {
  std::string name;
  int rows = 0;
  int cols = 0;
};

std::vector<TensorSpec> expected_tensors(const Shape& shape);

// Checkpoint names, see https://huggingface.co/THUDM/chatglm3-6b (pytorch_model.bin.index.json).
std::string layer_tensor(int layer, const char* suffix);
inline constexpr const char* kEmbedding = "transformer.embedding.word_embeddings.weight";
inline constexpr const char* kFinalNorm = "transformer.encoder.final_layernorm.weight";
inline constexpr const char* kHead = "transformer.output_layer.weight";
inline constexpr const char* kInputNorm = "input_layernorm.weight";
inline constexpr const char* kPostNorm = "post_attention_layernorm.weight";
inline constexpr const char* kQkv = "self_attention.query_key_value.weight";
inline constexpr const char* kQkvBias = "self_attention.query_key_value.bias";
inline constexpr const char* kDense = "self_attention.dense.weight";
inline constexpr const char* kGateUp = "mlp.dense_h_to_4h.weight";
inline constexpr const char* kDown = "mlp.dense_4h_to_h.weight";

constexpr std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

// Activation rows are padded with zeros to whole quantisation groups, so that every kernel runs
// over full vectors and a value never depends on where in a vector it sits.
constexpr std::size_t padded(int n) { return round_up(static_cast<std::size_t>(n), 64); }

}  // namespace glmd::cpu
