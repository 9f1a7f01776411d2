// libbmrt at work: a bmodel loaded on one or several chips, what its nets take and give, launches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bm1684x/device.h"
#include "bm1684x/trace.h"

namespace glmd::bm1684x {

// An input or output of a net at one set of shapes.
struct Port {
  std::string name;
  int type = 0;    // sophon::DataType
  int device = 0;  // place in the list of devices
  int order = 0;   // among the net's inputs, or outputs, on that device
  sophon::Shape shape{};
  std::size_t bytes = 0;
  std::uint64_t compiled_address = 0;  // where the net itself has it

  int rank() const { return shape.rank; }
  // From the end where i is below 0.
  int dim(int i) const { return shape.dims[i < 0 ? shape.rank + i : i]; }
  std::string text() const;  // "f16 [1,1,256]"
};

// A net at one set of shapes, which libbmrt calls a stage.
struct Graph {
  std::string net;
  int address_mode = 0;
  std::vector<Port> inputs;
  std::vector<Port> outputs;

  int rows() const;          // that it computes: ids, hidden states or rows of logits going in
  std::string text() const;  // name, inputs and outputs, for people
};

struct Net {
  std::string name;
  std::vector<Graph> stages;
};

// A net need not have all its tensors on every device. These are nullptr, and those of `on` that
// the net has, `on` being what lies on each device in the order of the tensors.
const Port* find_port(const std::vector<Port>& ports, int device, int order);
std::vector<View> choose(const std::vector<Port>& ports, const std::vector<std::vector<View>>& on);

// What has been asked of the chips since the model was loaded. `relocated`: bytes that libbmrt
// copies on the chip because a tensor is not where the net was compiled to have it. `undecided`:
// rows of logits that were downloaded although candidates of them had been, see top_head.h.
struct Traffic {
  std::int64_t launches = 0;
  std::int64_t uploads = 0;
  std::int64_t uploaded = 0;  // bytes
  std::int64_t downloads = 0;
  std::int64_t downloaded = 0;
  std::int64_t copies = 0;  // from one place on a chip to another
  std::int64_t copied = 0;
  std::int64_t cleared = 0;  // bytes
  std::int64_t relocated = 0;
  std::int64_t undecided = 0;
};

class Runtime {
 public:
  // Opens the chips. Throws Error as Device does.
  Runtime(const Library& library, const std::vector<int>& devices);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Throws Error when libbmrt does not take the file; it prints the reason itself.
  void load(const std::string& path);

  int devices() const { return static_cast<int>(devices_.size()); }
  const Device& device(int place) const { return *devices_[static_cast<std::size_t>(place)]; }

  std::vector<Net> nets() const;

  // Starts a net; `inputs` and `outputs` are where its tensors lie, in its order. Launches on the
  // same chips run one after the other; wait() is for those who read.
  void launch(const Graph& graph, const std::vector<View>& inputs,
              const std::vector<View>& outputs);
  void wait();
  void settle() noexcept;  // waits without telling what became of it

  DeviceMemory allocate(int place, std::size_t bytes) const {
    return DeviceMemory(device(place), bytes);
  }
  void upload(int place, const View& to, const void* from);
  void download(int place, void* to, const View& from);
  void copy(int place, const View& from, const View& to);
  void clear(const DeviceMemory& memory);

  void count_undecided() { ++traffic_.undecided; }
  const Traffic& traffic() const { return traffic_; }
  Trace& trace() { return trace_; }

 private:
  const Library& library_;
  std::vector<std::unique_ptr<Device>> devices_;
  sophon::Runtime runtime_ = nullptr;
  Traffic traffic_;
  Trace trace_;
};

}  // namespace glmd::bm1684x
