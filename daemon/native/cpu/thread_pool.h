// Persistent threads that share out the chunks of one job at a time.
//
// Chunks are taken from an atomic counter, so a thread whose core is busy with something else
// takes fewer of them and delays the rest by one chunk at most. Between jobs the workers spin for
// some tens of microseconds and then sleep: within a step they are always awake, and an idle
// pool uses no CPU.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace glmd::cpu {

// Cores this process may run on.
int available_cores();

class ThreadPool {
 public:
  // The calling thread works too: `threads` - 1 are started. 0 means available_cores(). Throws
  // Error when the system has no room for as many.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(worker, chunk) once for each chunk in [0, chunks) and returns when all are done.
  // `worker` < threads() is constant within a call of body, for per-thread scratch. `body` must
  // not throw. One job at a time, always from the same thread.
  template <class Body>
  void run(int chunks, const Body& body) {
    const Call call = [](const void* context, int worker, int chunk) {
      (*static_cast<const Body*>(context))(worker, chunk);
    };
    run(chunks, call, &body);
  }

 private:
  using Call = void (*)(const void* context, int worker, int chunk);

  void run(int chunks, Call call, const void* context);
  bool work(int worker);  // takes chunks until none are left; false if there was none
  void loop(int worker);
  void join();

  // Number of chunks in the upper half, the next one to take in the lower: whoever takes a chunk
  // learns in the same instruction that the job it belongs to is still running.
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<int> done_{0};
  Call call_ = nullptr;
  const void* context_ = nullptr;

  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace glmd::cpu
