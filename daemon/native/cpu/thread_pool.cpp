#include "cpu/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "engine.h"

namespace glmd::cpu {
namespace {

constexpr int kSpins = 4000;  // about 50 µs

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr bool has_chunks(std::uint64_t ticket) {
  return static_cast<std::uint32_t>(ticket) < static_cast<std::uint32_t>(ticket >> 32);
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int threads) {
  if (threads <= 0) threads = available_cores();
  workers_.reserve(static_cast<std::size_t>(threads - 1));
  try {
    for (int worker = 1; worker < threads; ++worker) {
      workers_.emplace_back([this, worker] { loop(worker); });
    }
  } catch (const std::system_error& error) {
    const int started = this->threads();
    join();  // a thread that is destroyed while it runs ends the process
    throw Error("load", error.code().value(),
                "only " + std::to_string(started) + " of " + std::to_string(threads) +
                    " threads could be started (" + error.code().message() + "); ask for fewer");
  }
}

ThreadPool::~ThreadPool() { join(); }

void ThreadPool::join() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(int chunks, Call call, const void* context) {
  if (chunks <= 0) return;
  if (chunks == 1 || workers_.empty()) {
    for (int chunk = 0; chunk < chunks; ++chunk) call(context, 0, chunk);
    return;
  }
  call_ = call;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  ticket_.store(static_cast<std::uint64_t>(chunks) << 32);
  if (sleeping_.load() > 0) {
    // The lock orders this behind a worker that has seen no chunk but does not wait yet.
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }
    wake_.notify_all();
  }
  work(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) < chunks; ++spins) {
    if (spins < kSpins) {
      pause();
    } else {
      std::this_thread::yield();  // the last chunk's thread may be waiting for this very core
    }
  }
}

bool ThreadPool::work(int worker) {
  bool worked = false;
  while (has_chunks(ticket_.load())) {
    const std::uint64_t ticket = ticket_.fetch_add(1);
    if (!has_chunks(ticket)) break;
    call_(context_, worker, static_cast<int>(static_cast<std::uint32_t>(ticket)));
    done_.fetch_add(1, std::memory_order_release);
    worked = true;
  }
  return worked;
}

void ThreadPool::loop(int worker) {
  while (true) {
    for (int spins = 0; spins < kSpins; ++spins) {
      if (work(worker)) spins = 0;
      pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1);
    wake_.wait(lock, [this] { return stop_.load() || has_chunks(ticket_.load()); });
    sleeping_.fetch_sub(1);
    if (stop_.load()) return;
  }
}

}  // namespace glmd::cpu
