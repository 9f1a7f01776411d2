#include "bm1684x/device.h"

#include <limits>
#include <mutex>
#include <set>
#include <string>
#include <utility>

namespace glmd::bm1684x {
namespace {

constexpr unsigned kChip = 0x1686;  // what a BM1684X calls itself

std::mutex opened_mutex;
std::set<int> opened;  // by this process

void claim(int id) {
  const std::lock_guard<std::mutex> lock(opened_mutex);
  if (!opened.insert(id).second) {
    throw Error("bm_dev_request", 0,
                "device " + std::to_string(id) + " is already open in this process");
  }
}

void disclaim(int id) {
  const std::lock_guard<std::mutex> lock(opened_mutex);
  opened.erase(id);
}

}  // namespace

int device_count(const Library& library) {
  int count = 0;
  checked("bm_dev_getcount", library.calls().bm_dev_getcount, &count);
  return count;
}

Device::Device(const Library& library, int id) : library_(library), id_(id) {
  const int count = device_count(library);
  if (id < 0 || id >= count) {
    throw Error("bm_dev_request", 0,
                library.simulated() ? "the simulator is one chip, device 0; there is no device " +
                                          std::to_string(id)
                                    : "there is no device " + std::to_string(id) +
                                          "; the driver shows " + std::to_string(count));
  }
  claim(id);
  try {
    checked("bm_dev_request", library.calls().bm_dev_request, &handle_, id);
    library.chip_opened();
    unsigned chip = 0;
    checked("bm_get_chipid", library.calls().bm_get_chipid, handle_, &chip);
    if (chip != kChip) {
      throw Error("bm_get_chipid", 0,
                  "device " + std::to_string(id) + " is no BM1684X: it says " +
                      std::to_string(chip) + ", a BM1684X says " + std::to_string(kChip));
    }
  } catch (...) {
    if (handle_ != nullptr) library.calls().bm_dev_free(handle_);
    disclaim(id);
    throw;
  }
}

Device::~Device() {
  library_.calls().bm_dev_free(handle_);
  disclaim(id_);
}

void Device::wait() const { checked("bm_thread_sync", library_.calls().bm_thread_sync, handle_); }

DeviceStats Device::stats() const {
  DeviceStats stats;
  stats.device = id_;
  sophon::DeviceStat said{};
  if (library_.calls().bm_get_stat(handle_, &said) == 0 && said.memory_total > 0) {
    stats.memory_total = std::int64_t{said.memory_total} << 20;
    stats.memory_used = std::int64_t{said.memory_used} << 20;
    stats.utilisation = static_cast<float>(said.utilisation) / 100.0F;
  }
  unsigned degrees = 0;
  if (!library_.simulated() && library_.calls().bm_get_chip_temp(handle_, &degrees) == 0) {
    stats.temperature = static_cast<float>(degrees);
  }
  return stats;
}

View View::part(std::size_t offset, std::size_t bytes) const {
  View part = *this;
  part.memory.address += offset;
  part.memory.size = static_cast<std::uint32_t>(bytes);
  return part;
}

DeviceMemory::DeviceMemory(const Device& device, std::size_t bytes) {
  const Library::Calls& calls = device.library().calls();
  constexpr std::size_t most = std::numeric_limits<std::uint32_t>::max();
  const int status = bytes > most
                         ? 5
                         : guarded("bm_malloc_device_byte", calls.bm_malloc_device_byte,
                                   device.handle(), &memory_, static_cast<unsigned>(bytes));
  if (status != 0) {
    throw Error("bm_malloc_device_byte", status,
                "device " + std::to_string(device.id()) + " has no room for another " +
                    std::to_string(bytes >> 10) + " KiB");
  }
  device_ = &device;
  clear();
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : device_(std::exchange(other.device_, nullptr)), memory_(other.memory_) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(memory_, other.memory_);
  return *this;
}

DeviceMemory::~DeviceMemory() {
  if (device_ != nullptr) device_->library().calls().bm_free_device(device_->handle(), memory_);
}

void DeviceMemory::clear() const {
  char zero = 0;
  checked("bm_memset_device_ext", device_->library().calls().bm_memset_device_ext,
          device_->handle(), &zero, 1, memory_);
}

void upload(const Device& device, const View& to, const void* from) {
  checked("bm_memcpy_s2d", device.library().calls().bm_memcpy_s2d, device.handle(), to.memory,
          const_cast<void*>(from));
}

void download(const Device& device, void* to, const View& from) {
  checked("bm_memcpy_d2s", device.library().calls().bm_memcpy_d2s, device.handle(), to,
          from.memory);
}

void copy(const Device& device, const View& from, const View& to) {
  checked("bm_memcpy_d2d_byte", device.library().calls().bm_memcpy_d2d_byte, device.handle(),
          to.memory, std::size_t{0}, from.memory, std::size_t{0}, std::size_t{from.memory.size});
}

}  // namespace glmd::bm1684x
