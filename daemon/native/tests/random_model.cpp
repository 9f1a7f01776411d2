#include "tests/random_model.h"

#include <cmath>

#include "tests/random.h"

namespace glmd::test {

cpu::Shape odd_shape() {
  cpu::Shape shape;
  shape.layers = 2;
  shape.hidden = 52;
  shape.ffn = 75;
  shape.heads = 6;
  shape.kv_heads = 2;
  shape.head_dim = 12;
  shape.vocab = 77;
  return shape;
}

cpu::Weights random_weights(const cpu::Shape& shape, cpu::Kind kind, std::uint64_t seed) {
  Random random(seed);
  cpu::ThreadPool pool(1);
  const bool int4 = kind == cpu::Kind::int4g32 || kind == cpu::Kind::int4g64;
  cpu::Weights weights(shape, kind == cpu::Kind::f16 ? "f16" : int4 ? "int4" : "int8");
  for (const cpu::TensorSpec& spec : cpu::expected_tensors(shape)) {
    const auto rows = static_cast<std::size_t>(spec.rows);
    if (spec.cols == 0) {
      const float centre = spec.name.find("layernorm") != std::string::npos ? 1.0F : 0.0F;
      std::vector<float> values = random.vector(rows, 0.2F);
      for (float& value : values) value += centre;
      weights.set_vector(spec.name, values.data(), rows);
      continue;
    }
    const bool embedding = spec.name == cpu::kEmbedding;
    const float scale = embedding ? 1.0F : 1.7F / std::sqrt(static_cast<float>(spec.cols));
    const auto values = random.vector(rows * static_cast<std::size_t>(spec.cols), scale);
    const cpu::Kind packed = embedding ? cpu::Kind::rows_f16 : kind;
    const auto bytes = std::make_shared<std::vector<std::uint8_t>>(
        cpu::packed_bytes(packed, spec.rows, spec.cols));
    cpu::pack({values.data(), cpu::SourceType::f32, spec.rows, spec.cols, spec.cols * 4}, packed,
              pool, bytes->data());
    weights.set_matrix(spec.name, packed, bytes->data(), bytes->size(), bytes);
  }
  return weights;
}

std::vector<std::int32_t> random_tokens(int n, int vocab, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(random.below(vocab));
  return tokens;
}

std::vector<const cpu::Kernels*> all_kernels() {
  std::vector<const cpu::Kernels*> kernels{&cpu::portable_kernels()};
  if (cpu::avx2_kernels() != nullptr) kernels.push_back(cpu::avx2_kernels());
  return kernels;
}

std::vector<std::vector<float>> append(Backend& backend, int slot, int pos,
                                       const std::vector<std::int32_t>& tokens) {
  const auto vocab = static_cast<std::size_t>(backend.info().vocab);
  std::vector<std::vector<float>> logits(tokens.size(), std::vector<float>(vocab));
  std::vector<Span> spans;
  std::vector<Result> results(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    spans.push_back({slot, pos + static_cast<int>(i), &tokens[i], 1, Want::logits});
    results[i].logits = logits[i].data();
  }
  const CancelFlag cancel{false};
  backend.forward(spans, results, cancel);
  return logits;
}

}  // namespace glmd::test
