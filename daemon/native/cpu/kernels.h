// The inner loops, once for each instruction set.
//
// Every output element is computed in one order of operations that depends on nothing but its own
// row and column: not on how many tokens or weight rows share the call, nor on how the caller
// split the work. That is what makes logits bit-identical in any batch, split and thread count.
#pragma once

#include <cstddef>
#include <cstdint>

namespace glmd::cpu {

// Activations of several tokens, quantised to int8 in blocks of 32: x ≈ q · scale. `stride` is in
// elements; `blocks` is the stride of `scale` and `sum`, where sum is that of q over the block.
struct QuantisedRows {
  std::int8_t* q = nullptr;
  float* scale = nullptr;
  std::int32_t* sum = nullptr;
  std::size_t stride = 0;
  std::size_t blocks = 0;
};

// Eight rows of halves, interleaved: row r of group g at column k lies at
// data[g * group_stride + k * column_stride + r]. Weights, cached keys (rows are positions) and
// cached values (rows are dimensions) all have this form.
struct HalfPanel {
  const std::uint16_t* data = nullptr;
  std::size_t group_stride = 0;
  std::size_t column_stride = 0;
};

struct TileStats {
  float max = 0.0F;
  float sum = 0.0F;
};

struct Kernels {
  const char* name;

  // out[t][8g + r] = Σ_k x[t][k] · w[g][k][r], k ascending; out_stride ≥ 8 · groups.
  void (*dot_half)(const float* x, std::size_t x_stride, int tokens, HalfPanel w, int groups,
                   std::size_t columns, float* out, std::size_t out_stride);

  // The same for packed weights (see packing.h); `w` points to the first group.
  void (*dot_int8)(const QuantisedRows& x, int tokens, const std::uint8_t* w, int groups,
                   std::size_t columns, float* out, std::size_t out_stride);
  void (*dot_int4g32)(const QuantisedRows& x, int tokens, const std::uint8_t* w, int groups,
                      std::size_t columns, float* out, std::size_t out_stride);
  void (*dot_int4g64)(const QuantisedRows& x, int tokens, const std::uint8_t* w, int groups,
                      std::size_t columns, float* out, std::size_t out_stride);

  // n values to int8 in blocks of 32, n a multiple of 32: n quants, n / 32 scales and sums.
  void (*quantise)(const float* x, std::size_t n, std::int8_t* q, float* scale, std::int32_t* sum);

  // For the rest n is a multiple of 8, padding included; padding in is zero, so is padding out.
  // out = x / sqrt(mean(x²) + eps) · weight, the mean being over `dim` ≤ n.
  void (*rms_norm)(const float* x, const float* weight, float eps, std::size_t dim, std::size_t n,
                   float* out);
  void (*add)(float* x, const float* y, std::size_t n);  // x += y
  void (*silu_mul)(const float* gate, const float* up, std::size_t n, float* out);
  void (*to_half)(const float* x, std::size_t n, std::uint16_t* out);  // saturating

  // scores[i] := exp(scores[i] - max) for i < count, 0 up to n; with max and the sum of the result.
  TileStats (*softmax_tile)(float* scores, int count, int n);
  // acc := acc · a + x · b
  void (*blend)(float* acc, float a, const float* x, float b, std::size_t n);
};

const Kernels& portable_kernels();
const Kernels* avx2_kernels();  // nullptr where the CPU or the build lacks AVX2, FMA or F16C

// The fastest for this CPU, or the portable ones if GLMD_CPU=portable. Decided at the first call.
const Kernels& best_kernels();

}  // namespace glmd::cpu
