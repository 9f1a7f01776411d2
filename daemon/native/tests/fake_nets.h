// How the stand-in for libbmrt describes nets.
#pragma once

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "bm1684x/sophon.h"

namespace glmd::test {

// The tensors of one side of a net, once for each device.
struct Side {
  std::vector<const char*> names;
  std::vector<std::int32_t> types, devices;
  std::vector<bm1684x::sophon::Shape> shapes;
  std::vector<bm1684x::sophon::Memory> memory;
};

struct Stage {
  Side in, out;
};

struct Described {
  std::string name;
  std::deque<Stage> stages;
  std::vector<bm1684x::sophon::StageInfo> infos;
  bm1684x::sophon::NetInfo info{};
};

using Nets = std::deque<Described>;

// A stage of the net of this name, which may have others.
inline Stage& add_net(Nets& nets, const std::string& name) {
  for (Described& net : nets) {
    if (net.name == name) return net.stages.emplace_back();
  }
  nets.emplace_back().name = name;
  return nets.back().stages.emplace_back();
}

inline void add(Side& side, const char* name, std::int32_t type, int device,
                const std::vector<int>& dims) {
  bm1684x::sophon::Shape shape{static_cast<std::int32_t>(dims.size()), {}};
  std::copy(dims.begin(), dims.end(), shape.dims);
  side.names.push_back(name);
  side.types.push_back(type);
  side.devices.push_back(device);
  side.shapes.push_back(shape);
  side.memory.push_back({});
}

}  // namespace glmd::test
