#include "tests/fake_sophon.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>

#include "bm1684x/sophon.h"
#include "tests/fake_nets.h"
#include "tests/fake_rows.h"

#define CALL extern "C" __attribute__((visibility("default")))

using namespace glmd::bm1684x::sophon;

namespace glmd::test {

__attribute__((visibility("default"))) FakeSophon& fake_sophon() {
  static FakeSophon fake;
  return fake;
}

namespace {

// Sizes of the model: layers, positions, hidden, head_dim, vocabulary.
constexpr int kLayers = 2, kSeq = 4, kHidden = 2, kDim = 2, kVocab = 8;

std::map<std::uint64_t, std::pair<int, std::size_t>> memory;  // address: chip, bytes
int handles[64];

int chip_of(Handle handle) { return static_cast<int>(static_cast<int*>(handle) - handles); }

void* at(const Memory& view) { return reinterpret_cast<void*>(view.address); }

std::deque<Described> nets;
std::vector<int> places;  // chip of each handle given to bmrt_create_ex

void describe(Described& net) {
  for (Stage& stage : net.stages) {
    net.infos.push_back({stage.in.shapes.data(), stage.out.shapes.data(), stage.in.memory.data(),
                         stage.out.memory.data()});
  }
  Stage& first = net.stages.front();
  net.info.name = net.name.c_str();
  net.info.inputs = static_cast<std::int32_t>(first.in.names.size());
  net.info.input_names = first.in.names.data();
  net.info.input_types = first.in.types.data();
  net.info.input_devices = first.in.devices.data();
  net.info.outputs = static_cast<std::int32_t>(first.out.names.size());
  net.info.output_names = first.out.names.data();
  net.info.output_types = first.out.types.data();
  net.info.output_devices = first.out.devices.data();
  net.info.stages = static_cast<std::int32_t>(net.infos.size());
  net.info.stage = net.infos.data();
  net.info.cores = 1;
  net.info.address_mode = kIoReloc;
}

bool whole(int device) { return device == 0 || !fake_sophon().mlp_only; }

void embedding(const char* name, int n) {
  Stage& net = add_net(nets, name);
  for (int d = 0; d < fake_sophon().devices; ++d) {
    add(net.in, "input_ids", kInt32, d, {1, n});
    add(net.out, "hidden", kFloat16, d, {n, 1, kHidden});
  }
}

void block(int layer, bool cache) {
  Stage& net = add_net(nets, (cache ? "block_cache_" : "block_") + std::to_string(layer));
  const int n = cache ? 1 : kSeq;
  // All the states come first where the layout differs from chip to chip.
  const auto state = [&](int d) {
    if (d == 0 || !fake_sophon().lost) add(net.out, "hidden", kFloat16, d, {n, 1, kHidden});
  };
  for (int d = 0; fake_sophon().mlp_only && d < fake_sophon().devices; ++d) state(d);
  for (int d = 0; d < fake_sophon().devices; ++d) {
    if (!whole(d)) continue;
    add(net.in, "hidden", kFloat16, d, {n, 1, kHidden});
    add(net.in, "position_ids", kInt32, d, {1, n});
    add(net.in, "mask", kFloat16, d, {1, 1, n, cache ? kSeq + 1 : kSeq});
    if (cache) {
      add(net.in, "k", kFloat16, d, {kSeq, 1, 1, kDim});
      add(net.in, "v", kFloat16, d, {kSeq, 1, 1, kDim});
    }
    if (!fake_sophon().mlp_only) state(d);
    add(net.out, "k", kFloat16, d, {n, 1, 1, kDim});
    add(net.out, "v", kFloat16, d, {n, 1, 1, kDim});
  }
}

void check_tensors(const std::string& net, const Side& side, const Tensor* tensors) {
  for (std::size_t i = 0; i < side.names.size(); ++i) {
    const std::uint64_t address = tensors[i].memory.address;
    auto found = memory.upper_bound(address);
    const bool inside =
        found != memory.begin() && address + tensors[i].memory.size <=
                                       std::prev(found)->first + std::prev(found)->second.second;
    const int chip = inside ? std::prev(found)->second.first : -1;
    const int wanted = places[static_cast<std::size_t>(side.devices[i])];
    if (chip != wanted) {
      fake_sophon().wrong.push_back(net + " has " + side.names[i] + " on chip " +
                                    std::to_string(chip) + ", not " + std::to_string(wanted));
    }
  }
}

// The one for these shapes, as libbmrt picks it.
const Stage* stage_for(const Described& net, const Tensor* in) {
  for (const Stage& stage : net.stages) {
    bool same = true;
    for (std::size_t i = 0; i < stage.in.shapes.size(); ++i) {
      same = same && std::memcmp(&stage.in.shapes[i], &in[i].shape, sizeof(Shape)) == 0;
    }
    if (same) return &stage;
  }
  return nullptr;
}

bool counted_down(int& counter) { return counter >= 0 && counter-- == 0; }

}  // namespace
}  // namespace glmd::test

using namespace glmd::test;

CALL int bm_dev_getcount(int* count) {
  *count = fake_sophon().chips;
  return 0;
}
CALL int bm_dev_request(Handle* handle, int id) {
  if (id == fake_sophon().fatal_chip) std::abort();
  *handle = &handles[id];
  ++fake_sophon().opened;
  return 0;
}
CALL void bm_dev_free(Handle) { --fake_sophon().opened; }
CALL int bm_get_chipid(Handle, unsigned* id) {
  *id = fake_sophon().chip_id;
  return 0;
}
CALL int bm_get_stat(Handle, DeviceStat* stat) {
  *stat = {fake_sophon().memory_total, fake_sophon().memory_used, 37, 0, {}};
  return 0;
}
CALL int bm_get_chip_temp(Handle, unsigned* degrees) {
  *degrees = 51;
  return 0;
}
CALL int bm_malloc_device_byte(Handle handle, Memory* out, unsigned bytes) {
  if (counted_down(fake_sophon().allocations_until_full)) return 5;
  *out = {reinterpret_cast<std::uint64_t>(std::malloc(bytes)), 0, 0, 0, bytes};
  // Whatever was there before, as on a chip: NaN in f16.
  for (std::uint16_t *item = static_cast<std::uint16_t*>(at(*out)), *end = item + bytes / 2;
       item != end; ++item) {
    *item = kNan;
  }
  memory[out->address] = {chip_of(handle), bytes};
  ++fake_sophon().allocated;
  return 0;
}
CALL void bm_free_device(Handle, Memory freed) {
  memory.erase(freed.address);
  std::free(at(freed));
  --fake_sophon().allocated;
}
CALL int bm_memset_device_ext(Handle, void* value, int, Memory to) {
  std::memset(at(to), *static_cast<char*>(value), to.size);
  return 0;
}
CALL int bm_memcpy_s2d(Handle, Memory to, void* from) {
  std::memcpy(at(to), from, to.size);
  return 0;
}
CALL int bm_memcpy_d2s(Handle, void* to, Memory from) {
  std::memcpy(to, at(from), from.size);
  return 0;
}
CALL int bm_memcpy_d2d_byte(Handle, Memory to, std::size_t, Memory from, std::size_t,
                            std::size_t n) {
  std::memcpy(at(to), at(from), n);
  return 0;
}
CALL int bm_thread_sync(Handle) { return 0; }

CALL Runtime bmrt_create_ex(Handle* given, int n) {
  places.clear();
  for (int i = 0; i < n; ++i) places.push_back(chip_of(given[i]));
  return &places;
}
CALL void bmrt_destroy(Runtime) { nets.clear(); }
CALL bool bmrt_load_bmodel(Runtime, const char*) {
  if (fake_sophon().rows) {
    describe_rows(nets);
    for (Described& net : nets) describe(net);
    return true;
  }
  embedding("embedding", kSeq);
  embedding("embedding_cache", 1);
  for (int layer = 0; layer < kLayers; ++layer) {
    block(layer, false);
    block(layer, true);
  }
  Stage& head = add_net(nets, "lm_head");
  for (int d = 0; d == 0 || (fake_sophon().mlp_only && d < fake_sophon().devices); ++d) {
    add(head.in, "hidden", kFloat16, d, {1, kHidden});
    add(head.out, "logits", kFloat32, d, {1, kVocab});
  }
  for (Described& net : nets) describe(net);
  return fake_sophon().loads;
}
CALL int bmrt_get_network_number(Runtime) { return static_cast<int>(nets.size()); }
CALL void bmrt_get_network_names(Runtime, const char*** names) {
  *names = static_cast<const char**>(std::malloc(nets.size() * sizeof(char*)));
  for (std::size_t i = 0; i < nets.size(); ++i) (*names)[i] = nets[i].name.c_str();
}
CALL const NetInfo* bmrt_get_network_info(Runtime, const char* name) {
  for (const Described& net : nets) {
    if (net.name == name) return &net.info;
  }
  return nullptr;
}
CALL bool bmrt_launch_tensor_ex(Runtime, const char* name, const Tensor* in, int, Tensor* out, int,
                                bool, bool) {
  if (counted_down(fake_sophon().launches_until_throw)) throw std::runtime_error("it burns");
  if (counted_down(fake_sophon().launches_until_false)) return false;
  fake_sophon().launched.push_back(name);
  for (const Described& net : nets) {
    if (net.name != name) continue;
    const Stage* stage = stage_for(net, in);
    if (stage == nullptr) return false;
    check_tensors(net.name, stage->in, in);
    check_tensors(net.name, stage->out, out);
  }
  if (fake_sophon().rows) {
    compute_rows(name, in, out);
    return true;
  }
  if (std::strcmp(name, "lm_head") == 0) {
    const float logits[kVocab] = {0, 1, 2, 9, 4, 5, 6, 7};
    std::memcpy(at(out[0].memory), logits, sizeof logits);
  }
  return true;
}
