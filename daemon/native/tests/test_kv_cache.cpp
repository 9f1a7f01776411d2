// Where keys and values lie, and that slots cost memory only while they hold something.
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "cpu/kv_cache.h"
#include "tests/check.h"
#include "tests/random_model.h"

using namespace glmd;
using namespace glmd::cpu;

namespace {

// Fills positions with numbers that tell where they belong.
void fill(KvCache& cache, const Shape& shape, int slot, int from, int to, int salt) {
  std::vector<std::uint16_t> key(cache.dim());
  std::vector<std::uint16_t> value(cache.dim());
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      for (int position = from; position < to; ++position) {
        for (std::size_t d = 0; d < cache.dim(); ++d) {
          const auto number = static_cast<std::uint16_t>(salt + layer * 7000 + head * 3000 +
                                                         position * 16 + static_cast<int>(d));
          key[d] = number;
          value[d] = static_cast<std::uint16_t>(number + 1);
        }
        cache.write(slot, layer, head, position, key.data(), value.data());
      }
    }
  }
}

bool holds(const KvCache& cache, const Shape& shape, int slot, int from, int to, int salt) {
  for (int layer = 0; layer < shape.layers; ++layer) {
    for (int head = 0; head < shape.kv_heads; ++head) {
      for (int position = from; position < to; ++position) {
        const HalfPanel keys = cache.keys(slot, layer, head, position / 8 * 8);
        const HalfPanel values = cache.values(slot, layer, head, position);
        for (std::size_t d = 0; d < cache.dim(); ++d) {
          const auto number = static_cast<std::uint16_t>(salt + layer * 7000 + head * 3000 +
                                                         position * 16 + static_cast<int>(d));
          const std::size_t lane = static_cast<std::size_t>(position % 8);
          const std::uint16_t value = values.data[d / 8 * values.group_stride + d % 8];
          if (keys.data[d * keys.column_stride + lane] != number) return false;
          if (value != static_cast<std::uint16_t>(number + 1)) return false;
        }
      }
    }
  }
  return true;
}

}  // namespace

TEST(keys_and_values_are_found_where_they_were_written) {
  const Shape shape = test::odd_shape();
  KvCache cache(shape, 2, 29);
  CHECK_EQ(cache.dim(), 16U);
  fill(cache, shape, 0, 0, 29, 0);
  fill(cache, shape, 1, 0, 29, 500);
  CHECK(holds(cache, shape, 0, 0, 29, 0));
  CHECK(holds(cache, shape, 1, 0, 29, 500));
}

TEST(a_prefix_is_copied_and_nothing_else) {
  const Shape shape = test::odd_shape();
  KvCache cache(shape, 3, 40);
  fill(cache, shape, 0, 0, 40, 0);
  fill(cache, shape, 2, 0, 40, 900);
  cache.copy_prefix(0, 1, 13);
  CHECK_EQ(cache.length(1), 13);
  CHECK(holds(cache, shape, 1, 0, 13, 0));
  CHECK(holds(cache, shape, 0, 0, 40, 0));
  CHECK(holds(cache, shape, 2, 0, 40, 900));
}

TEST(saved_positions_can_be_put_back) {
  const Shape shape = test::odd_shape();
  KvCache cache(shape, 1, 40);
  fill(cache, shape, 0, 0, 30, 0);
  const auto saved = cache.save(0, 11, 21);
  fill(cache, shape, 0, 11, 25, 700);
  cache.restore(0, 11, 21, saved);
  CHECK(holds(cache, shape, 0, 0, 21, 0));
  CHECK(holds(cache, shape, 0, 21, 25, 700));
}

#if !defined(__SANITIZE_THREAD__)  // its shadow memory would be counted too
namespace {

long resident_bytes() {
  long total = 0;
  long resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr || std::fscanf(file, "%ld %ld", &total, &resident) != 2) resident = 0;
  if (file != nullptr) std::fclose(file);
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace

TEST(a_slot_costs_nothing_until_used_and_after_release) {
  Shape shape;
  shape.layers = 4;
  shape.hidden = 64;
  shape.ffn = 64;
  shape.heads = 2;
  shape.kv_heads = 2;
  shape.head_dim = 128;
  shape.vocab = 10;
  const long mib = 1 << 20;
  const long start = resident_bytes();
  KvCache cache(shape, 64, 32768);  // 64 slots of 128 MiB
  const long reserved = resident_bytes();
  CHECK_LE(reserved - start, 100 * mib);  // page tables, which an emulator keeps for all of it
  fill(cache, shape, 5, 0, 8192, 0);      // 32 MiB
  CHECK_GE(resident_bytes() - reserved, 30 * mib);
  cache.release(5);
  CHECK_EQ(cache.length(5), 0);
  CHECK_LE(resident_bytes() - reserved, 2 * mib);
  fill(cache, shape, 5, 0, 10, 3);
  CHECK(holds(cache, shape, 5, 0, 10, 3));
}
#endif
