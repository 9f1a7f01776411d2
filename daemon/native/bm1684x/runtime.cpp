#include "bm1684x/runtime.h"

#include <algorithm>
#include <cstdlib>
#include <map>

namespace glmd::bm1684x {
namespace {

using sophon::NetInfo;
using sophon::StageInfo;

std::size_t item_bytes(int type) { return type == sophon::kFloat16 ? 2 : 4; }

std::string type_name(int type) {
  switch (type) {
    case sophon::kFloat32:
      return "f32";
    case sophon::kFloat16:
      return "f16";
    case sophon::kInt32:
      return "i32";
    default:
      return "type " + std::to_string(type);
  }
}

Port read_port(const char* name, int type, int device, const sophon::Shape& shape,
               const sophon::Memory& memory) {
  Port port;
  port.name = name;
  port.type = type;
  port.device = device;
  port.shape = shape;
  port.bytes = item_bytes(type);
  for (int i = 0; i < shape.rank; ++i) port.bytes *= static_cast<std::size_t>(shape.dims[i]);
  port.compiled_address = memory.address;
  return port;
}

// Numbers the tensors of one side, on each device from 0.
void set_orders(std::vector<Port>& ports) {
  std::map<int, int> seen;
  for (Port& port : ports) port.order = seen[port.device]++;
}

Graph read_graph(const NetInfo& info, const StageInfo& stage) {
  Graph graph;
  graph.net = info.name;
  graph.address_mode = info.address_mode;
  for (int i = 0; i < info.inputs; ++i) {
    graph.inputs.push_back(read_port(info.input_names[i], info.input_types[i],
                                     info.input_devices[i], stage.input_shapes[i],
                                     stage.input_memory[i]));
  }
  for (int i = 0; i < info.outputs; ++i) {
    graph.outputs.push_back(read_port(info.output_names[i], info.output_types[i],
                                      info.output_devices[i], stage.output_shapes[i],
                                      stage.output_memory[i]));
  }
  set_orders(graph.inputs);
  set_orders(graph.outputs);
  return graph;
}

// An older libbmrt describes nets in a shorter structure; what lies behind it is chance.
void check_layout(const NetInfo& info) {
  if (info.cores == 1 && info.address_mode >= 0 && info.address_mode <= sophon::kIoReloc) return;
  throw Error("bmrt_get_network_info", 0,
              "net " + std::string(info.name) + " is described as using " +
                  std::to_string(info.cores) + " cores and address mode " +
                  std::to_string(info.address_mode) +
                  ", which no BM1684X has: libbmrt is older or newer than glmd knows");
}

std::string joined(const std::vector<Port>& ports) {
  std::string text;
  for (const Port& port : ports) {
    text += (text.empty() ? "" : ", ") + port.name + " " + port.text();
  }
  return text;
}

std::int64_t place_tensors(const Graph& graph, const std::vector<Port>& ports,
                           const std::vector<View>& views, std::vector<sophon::Tensor>& tensors) {
  if (views.size() != ports.size()) {
    throw Error("bmrt_launch_tensor_ex", 0,
                graph.net + " has " + std::to_string(ports.size()) + " tensors on one side, not " +
                    std::to_string(views.size()));
  }
  std::int64_t relocated = 0;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    sophon::Memory memory = views[i].memory;
    memory.size = static_cast<std::uint32_t>(ports[i].bytes);
    tensors.push_back({ports[i].type, ports[i].shape, memory, 0});
    if (graph.address_mode != sophon::kIoReloc && memory.address != ports[i].compiled_address) {
      relocated += static_cast<std::int64_t>(ports[i].bytes);
    }
  }
  return relocated;
}

}  // namespace

std::string Port::text() const {
  std::string dims;
  for (int i = 0; i < rank(); ++i) dims += (i == 0 ? "" : ",") + std::to_string(dim(i));
  return type_name(type) + " [" + dims + "]";
}

int Graph::rows() const {
  const Port& first = inputs.front();
  const std::size_t items = first.bytes / item_bytes(first.type);
  const int wide = first.type == sophon::kInt32 ? 1 : first.dim(-1);
  return static_cast<int>(items) / wide;
}

std::string Graph::text() const {
  return net + " (" + joined(inputs) + ") -> (" + joined(outputs) + ")";
}

const Port* find_port(const std::vector<Port>& ports, int device, int order) {
  const auto found = std::find_if(ports.begin(), ports.end(), [&](const Port& port) {
    return port.device == device && port.order == order;
  });
  return found == ports.end() ? nullptr : &*found;
}

std::vector<View> choose(const std::vector<Port>& ports, const std::vector<std::vector<View>>& on) {
  std::vector<View> views;
  for (const Port& port : ports) {
    views.push_back(
        on[static_cast<std::size_t>(port.device)][static_cast<std::size_t>(port.order)]);
  }
  return views;
}

Runtime::Runtime(const Library& library, const std::vector<int>& devices) : library_(library) {
  std::vector<sophon::Handle> handles;
  for (const int id : devices) {
    devices_.push_back(std::make_unique<Device>(library, id));
    handles.push_back(devices_.back()->handle());
  }
  runtime_ = guarded("bmrt_create_ex", library.calls().bmrt_create_ex, handles.data(),
                     static_cast<int>(handles.size()));
  if (runtime_ == nullptr) throw Error("bmrt_create_ex", 0, "libbmrt gave no runtime");
}

Runtime::~Runtime() { library_.calls().bmrt_destroy(runtime_); }

void Runtime::load(const std::string& path) {
  if (guarded("bmrt_load_bmodel", library_.calls().bmrt_load_bmodel, runtime_, path.c_str())) {
    return;
  }
  throw Error("bmrt_load_bmodel", 0, "libbmrt does not load " + path);
}

std::vector<Net> Runtime::nets() const {
  const Library::Calls& calls = library_.calls();
  const int n = guarded("bmrt_get_network_number", calls.bmrt_get_network_number, runtime_);
  const char** names = nullptr;
  guarded("bmrt_get_network_names", calls.bmrt_get_network_names, runtime_, &names);
  const std::unique_ptr<const char*, void (*)(void*)> owned(
      names, [](void* memory) { std::free(memory); });
  std::vector<Net> nets;
  for (int i = 0; i < n; ++i) {
    const NetInfo* info =
        guarded("bmrt_get_network_info", calls.bmrt_get_network_info, runtime_, names[i]);
    if (info == nullptr) throw Error("bmrt_get_network_info", 0, "libbmrt knows no such net");
    check_layout(*info);
    Net net{info->name, {}};
    for (int s = 0; s < info->stages; ++s) net.stages.push_back(read_graph(*info, info->stage[s]));
    nets.push_back(std::move(net));
  }
  return nets;
}

void Runtime::launch(const Graph& graph, const std::vector<View>& inputs,
                     const std::vector<View>& outputs) {
  std::vector<sophon::Tensor> in;
  std::vector<sophon::Tensor> out;
  traffic_.relocated += place_tensors(graph, graph.inputs, inputs, in);
  traffic_.relocated += place_tensors(graph, graph.outputs, outputs, out);
  ++traffic_.launches;
  trace_.launched(graph.net, graph.rows());
  const bool launched = guarded("bmrt_launch_tensor_ex", library_.calls().bmrt_launch_tensor_ex,
                                runtime_, graph.net.c_str(), in.data(), static_cast<int>(in.size()),
                                out.data(), static_cast<int>(out.size()), true, false);
  if (!launched) {
    throw Error("bmrt_launch_tensor_ex", 0, "libbmrt does not launch net " + graph.net);
  }
}

void Runtime::wait() {
  for (const auto& device : devices_) device->wait();
}

void Runtime::settle() noexcept {
  for (const auto& device : devices_) {
    try {
      device->wait();
    } catch (const Error&) {
      // The step has failed already; its own error says more.
    }
  }
}

void Runtime::upload(int place, const View& to, const void* from) {
  ++traffic_.uploads;
  traffic_.uploaded += to.memory.size;
  bm1684x::upload(device(place), to, from);
}

void Runtime::download(int place, void* to, const View& from) {
  ++traffic_.downloads;
  traffic_.downloaded += from.memory.size;
  bm1684x::download(device(place), to, from);
}

void Runtime::copy(int place, const View& from, const View& to) {
  ++traffic_.copies;
  traffic_.copied += from.memory.size;
  bm1684x::copy(device(place), from, to);
}

void Runtime::clear(const DeviceMemory& memory) {
  traffic_.cleared += memory.view().memory.size;
  memory.clear();
}

}  // namespace glmd::bm1684x
