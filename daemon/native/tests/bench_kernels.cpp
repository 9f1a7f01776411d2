// Speed of the matrix products: bench_kernels ROWS COLUMNS [THREADS [KERNELS]].
// Prints a JSON object per kind and number of tokens; bench/cpu_kernels.py makes a table of them.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cpu/matmul.h"
#include "tests/random.h"

using namespace glmd::cpu;

namespace {

double seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct Named {
  const char* name;
  Kind kind;
};
constexpr Named kKinds[] = {{"f16", Kind::f16},
                            {"int8", Kind::int8},
                            {"int4g32", Kind::int4g32},
                            {"int4g64", Kind::int4g64}};

Matrix random_matrix(Kind kind, int rows, int columns, ThreadPool& pool) {
  glmd::test::Random random(1);
  const std::size_t row = static_cast<std::size_t>(columns);
  std::vector<float> values(row * 64);
  for (float& value : values) value = random.uniform(-1, 1);
  // 64 different rows again and again: the kernels do not look.
  const std::size_t size = packed_bytes(kind, rows, columns);
  std::shared_ptr<std::uint8_t> bytes(
      static_cast<std::uint8_t*>(std::aligned_alloc(64, round_up(size, 64))), std::free);
  for (int first = 0; first < rows; first += 64) {
    const int count = std::min(64, rows - first);
    pack({values.data(), SourceType::f32, count, columns, columns * 4}, kind, pool,
         bytes.get() + static_cast<std::size_t>(first / kGroupRows) * group_bytes(kind, columns));
  }
  return {kind, rows, columns, bytes.get(), bytes};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: bench_kernels ROWS COLUMNS [THREADS [portable]]\n");
    return 2;
  }
  const int rows = std::atoi(argv[1]);
  const int columns = std::atoi(argv[2]);
  ThreadPool pool(argc > 3 ? std::atoi(argv[3]) : 0);
  const bool portable = argc > 4 && std::strcmp(argv[4], "portable") == 0;
  const Kernels& kernels = portable ? portable_kernels() : best_kernels();

  constexpr int kMostTokens = 128;
  const std::size_t width = padded(columns);
  glmd::test::Random random(2);
  const std::vector<float> x = random.vector(kMostTokens * width, 1.0F);
  std::vector<std::int8_t> quants(x.size());
  std::vector<float> scales(x.size() / kBlock);
  std::vector<std::int32_t> sums(x.size() / kBlock);
  kernels.quantise(x.data(), x.size(), quants.data(), scales.data(), sums.data());
  const Activations activations{
      x.data(), width, {quants.data(), scales.data(), sums.data(), width, width / kBlock}};
  std::vector<float> out(kMostTokens * padded(rows));

  for (const auto& [name, kind] : kKinds) {
    const Matrix w = random_matrix(kind, rows, columns, pool);
    const auto bytes = static_cast<double>(packed_bytes(kind, rows, columns));
    for (const int tokens : {1, 2, 4, 8, 32, 128}) {
      const auto run = [&] {
        matmul(kernels, pool, w, activations, tokens, out.data(), padded(rows));
      };
      run();
      double best = 1e9;
      double spent = 0.0;
      for (int i = 0; i < 3 || (spent < 1.0 && i < 50); ++i) {
        const double start = seconds();
        run();
        const double took = seconds() - start;
        best = std::min(best, took);
        spent += took;
      }
      const double operations = 2.0 * rows * columns * tokens;
      std::printf(
          "{\"kernels\": \"%s\", \"threads\": %d, \"kind\": \"%s\", \"tokens\": %d, "
          "\"milliseconds\": %.3f, \"gb_per_second\": %.2f, \"gop_per_second\": %.1f}\n",
          kernels.name, pool.threads(), name, tokens, best * 1e3, bytes / best * 1e-9,
          operations / best * 1e-9);
      std::fflush(stdout);
    }
  }
  return 0;
}
