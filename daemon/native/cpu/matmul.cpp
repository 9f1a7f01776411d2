#include "cpu/matmul.h"

#include <algorithm>

namespace glmd::cpu {

void matmul(const Kernels& kernels, ThreadPool& pool, const Matrix& w, const Activations& x,
            int tokens, float* out, std::size_t out_stride) {
  const int groups = groups_of(w.rows);
  const std::size_t bytes = group_bytes(w.kind, w.cols);
  const auto columns = static_cast<std::size_t>(w.cols);
  // About 16 chunks a thread, so that a slow one ends soon after the others; multiples of 4, since
  // the kernels take up to so many groups at once.
  const int grain = std::max(1, groups / (pool.threads() * 64)) * 4;
  const int chunks = (groups + grain - 1) / grain;

  pool.run(chunks, [&](int, int chunk) {
    const int first = chunk * grain;
    const int count = std::min(grain, groups - first);
    const std::uint8_t* weights = w.data + static_cast<std::size_t>(first) * bytes;
    float* target = out + first * kGroupRows;
    switch (w.kind) {
      case Kind::f16: {
        const HalfPanel panel{reinterpret_cast<const std::uint16_t*>(weights), bytes / 2,
                              kGroupRows};
        return kernels.dot_half(x.x, x.stride, tokens, panel, count, columns, target, out_stride);
      }
      case Kind::int8:
        return kernels.dot_int8(x.quantised, tokens, weights, count, columns, target, out_stride);
      case Kind::int4g32:
        return kernels.dot_int4g32(x.quantised, tokens, weights, count, columns, target,
                                   out_stride);
      case Kind::int4g64:
        return kernels.dot_int4g64(x.quantised, tokens, weights, count, columns, target,
                                   out_stride);
      case Kind::rows_f16:
        return;  // Weights keeps it out of products
    }
  });
}

}  // namespace glmd::cpu
