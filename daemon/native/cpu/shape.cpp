#include "cpu/shape.h"

#include <stdexcept>

namespace glmd::cpu {

void check_shape(const Shape& s) {
  const auto require = [](bool ok, const std::string& sentence) {
    if (!ok) throw std::invalid_argument(sentence);
  };
  const auto positive = [&](int value, const char* name) {
    require(value > 0, std::string(name) + " must be positive, got " + std::to_string(value));
  };
  positive(s.layers, "layers");
  positive(s.hidden, "hidden");
  positive(s.ffn, "ffn");
  positive(s.heads, "heads");
  positive(s.kv_heads, "kv_heads");
  positive(s.head_dim, "head_dim");
  positive(s.vocab, "vocab");
  require(s.heads % s.kv_heads == 0, "heads (" + std::to_string(s.heads) +
                                         ") must be a multiple of kv_heads (" +
                                         std::to_string(s.kv_heads) + ")");
  require(s.head_dim % 4 == 0,
          "head_dim must be a multiple of 4, since RoPE turns pairs in half "
          "of each head; got " +
              std::to_string(s.head_dim));
  require(s.norm_eps > 0.0F && s.norm_eps < 1.0F, "norm_eps must lie between 0 and 1");
  require(s.rope_base > 1.0F, "rope_base must be greater than 1");
}

std::string layer_tensor(int layer, const char* suffix) {
  return "transformer.encoder.layers." + std::to_string(layer) + "." + suffix;
}

std::vector<TensorSpec> expected_tensors(const Shape& s) {
  std::vector<TensorSpec> specs{{kEmbedding, s.vocab, s.hidden}};
  for (int layer = 0; layer < s.layers; ++layer) {
    specs.push_back({layer_tensor(layer, kInputNorm), s.hidden, 0});
    specs.push_back({layer_tensor(layer, kQkv), s.qkv_dim(), s.hidden});
    specs.push_back({layer_tensor(layer, kQkvBias), s.qkv_dim(), 0});
    specs.push_back({layer_tensor(layer, kDense), s.hidden, s.query_dim()});
    specs.push_back({layer_tensor(layer, kPostNorm), s.hidden, 0});
    specs.push_back({layer_tensor(layer, kGateUp), 2 * s.ffn, s.hidden});
    specs.push_back({layer_tensor(layer, kDown), s.hidden, s.ffn});
  }
  specs.push_back({kFinalNorm, s.hidden, 0});
  specs.push_back({kHead, s.vocab, s.hidden});
  return specs;
}

}  // namespace glmd::cpu
