// Matrix products over all threads.
#pragma once

#include <cstddef>

#include "cpu/kernels.h"
#include "cpu/thread_pool.h"
#include "cpu/weights.h"

namespace glmd::cpu {

// Rows of activations in both forms; only the one that the weights want need be filled in.
struct Activations {
  const float* x = nullptr;
  std::size_t stride = 0;
  QuantisedRows quantised;
};

// Whether products with such weights read Activations::quantised.
inline bool wants_quantised(const Matrix& w) { return w.kind != Kind::f16; }

// out[t][r] = Σ_k x[t][k] · w[r][k] for t < tokens; out_stride ≥ w.rows rounded up to 8. Rows that
// fill up the last group come out as zeros.
void matmul(const Kernels& kernels, ThreadPool& pool, const Matrix& w, const Activations& x,
            int tokens, float* out, std::size_t out_stride);

}  // namespace glmd::cpu
