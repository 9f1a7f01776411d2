// Everything on a row of activations that is not a matrix product. Included by the translation
// units that define kernels.
#pragma once

#include "cpu/kernels.h"
#include "cpu/simd.h"

namespace glmd::cpu {
namespace {

inline F8 magnitude(F8 v) { return (F8)((U8)v & 0x7FFFFFFFU); }

void quantise(const float* x, std::size_t n, std::int8_t* q, float* scale, std::int32_t* sum) {
  for (std::size_t block = 0; block < n / 32; ++block, x += 32, q += 32) {
    const F8 v[4] = {load(x), load(x + 8), load(x + 16), load(x + 24)};
    const float largest =
        max(max(max(magnitude(v[0]), magnitude(v[1])), max(magnitude(v[2]), magnitude(v[3]))));
    const float inverse = largest > 1e-30F ? 127.0F / largest : 0.0F;
    I8 total = {};
    for (int part = 0; part < 4; ++part) {
      const I8 rounded = round(v[part] * inverse);
      const B8 bytes = __builtin_convertvector(rounded, B8);
      __builtin_memcpy(q + part * kLanes, &bytes, sizeof bytes);
      total += rounded;
    }
    scale[block] = largest / 127.0F;
    sum[block] = 0;
    for (int i = 0; i < kLanes; ++i) sum[block] += total[i];
  }
}

void rms_norm(const float* x, const float* weight, float eps, std::size_t dim, std::size_t n,
              float* out) {
  F8 squares[4] = {};
  for (std::size_t i = 0; i < n; i += kLanes) {
    const F8 v = load(x + i);
    F8& acc = squares[i / kLanes % 4];
    acc = fma(v, v, acc);
  }
  const float total = sum((squares[0] + squares[2]) + (squares[1] + squares[3]));
  const float inverse = 1.0F / __builtin_sqrtf(total / static_cast<float>(dim) + eps);
  for (std::size_t i = 0; i < n; i += kLanes) {
    store(out + i, load(x + i) * inverse * load(weight + i));
  }
}

void add(float* x, const float* y, std::size_t n) {
  for (std::size_t i = 0; i < n; i += kLanes) store(x + i, load(x + i) + load(y + i));
}

void silu_mul(const float* gate, const float* up, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kLanes) {
    const F8 v = load(gate + i);
    store(out + i, v / (1.0F + exp(-v)) * load(up + i));
  }
}

void to_half(const float* x, std::size_t n, std::uint16_t* out) {
  for (std::size_t i = 0; i < n; i += kLanes) {
    const F8 v = load(x + i);
    const F8 low = v < -65504.0F ? splat(-65504.0F) : v;
    store_half(out + i, low > 65504.0F ? splat(65504.0F) : low);
  }
}

TileStats softmax_tile(float* scores, int count, int n) {
  const float out = -__builtin_inff();
  F8 largest = splat(out);
  for (int i = 0; i < n; i += kLanes) {
    const F8 v = keep_below(load(scores + i), count - i, out);
    store(scores + i, v);
    largest = max(largest, v);
  }
  TileStats stats;
  stats.max = max(largest);
  F8 total = {};
  for (int i = 0; i < n; i += kLanes) {
    const F8 v = exp(load(scores + i) - stats.max);
    store(scores + i, v);
    total += v;
  }
  stats.sum = sum(total);
  return stats;
}

void blend(float* acc, float a, const float* x, float b, std::size_t n) {
  for (std::size_t i = 0; i < n; i += kLanes) {
    store(acc + i, fma(load(acc + i), splat(a), load(x + i) * b));
  }
}

}  // namespace
}  // namespace glmd::cpu
