// An opened chip and memory on it.
#pragma once

#include <cstdint>

#include "bm1684x/library.h"
#include "engine.h"

namespace glmd::bm1684x {

class Device {
 public:
  // Opens chip `id`. Throws Error when there is no such chip, when it is no BM1684X, or when this
  // process has it open already: a second handle ends the process.
  Device(const Library& library, int id);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Library& library() const { return library_; }
  sophon::Handle handle() const { return handle_; }
  int id() const { return id_; }

  void wait() const;  // until everything launched so far is done

  // What the driver says; totals of 0 where it says nothing, as on the simulator. Any thread.
  DeviceStats stats() const;

 private:
  const Library& library_;
  int id_;
  sophon::Handle handle_ = nullptr;
};

// Chips that the driver shows. Opens none.
int device_count(const Library& library);

// A stretch of device memory: an address with a length, owned elsewhere.
struct View {
  sophon::Memory memory{};

  // `bytes` of it from `offset` on.
  View part(std::size_t offset, std::size_t bytes) const;
};

// Memory on one chip, freed with the object. Filled with zeros: what was there before may be NaN,
// and a masked position still takes part in a product.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Throws Error with code out-of-memory in its sentence when the chip has no room.
  DeviceMemory(const Device& device, std::size_t bytes);
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  ~DeviceMemory();

  View view() const { return {memory_}; }
  View part(std::size_t offset, std::size_t bytes) const { return view().part(offset, bytes); }

  void clear() const;  // zeros again

 private:
  const Device* device_ = nullptr;
  sophon::Memory memory_{};
};

void upload(const Device& device, const View& to, const void* from);
void download(const Device& device, void* to, const View& from);
void copy(const Device& device, const View& from, const View& to);  // must not overlap

}  // namespace glmd::bm1684x
