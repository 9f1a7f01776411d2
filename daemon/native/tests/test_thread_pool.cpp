// Every chunk exactly once, however jobs follow each other; no CPU used in between.
#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include "cpu/thread_pool.h"
#include "tests/check.h"
#include "tests/random.h"

using glmd::cpu::ThreadPool;

namespace {

double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

TEST(each_chunk_runs_once_on_a_known_worker) {
  glmd::test::Random random(3);
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK_EQ(pool.threads(), threads);
    for (int job = 0; job < 300; ++job) {
      const int chunks = random.below(50);
      std::vector<int> runs(static_cast<std::size_t>(chunks), 0);  // written by one thread each
      std::atomic<bool> strange{false};
      pool.run(chunks, [&](int worker, int chunk) {
        if (worker < 0 || worker >= threads) strange = true;
        ++runs[static_cast<std::size_t>(chunk)];
      });
      CHECK(!strange);
      for (const int count : runs) CHECK_EQ(count, 1);
    }
  }
}

TEST(two_chunks_of_one_worker_never_overlap) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> busy(4);
  std::atomic<bool> overlap{false};
  pool.run(2000, [&](int worker, int) {
    auto& mine = busy[static_cast<std::size_t>(worker)];
    if (mine.fetch_add(1) != 0) overlap = true;
    mine.fetch_sub(1);
  });
  CHECK(!overlap);
}

TEST(sleeping_workers_wake_for_the_next_job) {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // long enough to fall asleep
    std::atomic<int> done{0};
    pool.run(64, [&](int, int) { ++done; });
    CHECK_EQ(done.load(), 64);
  }
}

TEST(an_idle_pool_uses_no_cpu) {
  ThreadPool pool(4);
  pool.run(8, [](int, int) {});
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  CHECK_LE(cpu_seconds() - before, 0.04);  // one spinning thread would use 0.4
}

TEST(zero_threads_means_the_cores_of_this_process) {
  const ThreadPool pool(0);
  CHECK_EQ(pool.threads(), glmd::cpu::available_cores());
  CHECK_GE(pool.threads(), 1);
}
