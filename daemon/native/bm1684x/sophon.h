// The C interface of Sophgo's libbmlib and libbmrt: as much of it as is used here, declared anew.
//
// Layouts and signatures follow bmlib_runtime.h, bmdef.h and bmruntime_interface.h of
// github.com/sophgo/libsophon. Nothing is linked: library.h finds each call by its name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace glmd::bm1684x::sophon {

using Handle = void*;   // bm_handle_t: an opened chip
using Runtime = void*;  // what bmrt_create_ex returns

// bm_data_type_t
enum DataType : std::int32_t { kFloat32 = 0, kFloat16 = 1, kInt32 = 6 };

// addr_mode_t: where a net's inputs and outputs lie.
enum AddressMode : std::int32_t {
  kBasic = 0,    // among its scratch; a caller's tensors are copied there and back
  kIoAlone = 1,  // in memory of their own; copied likewise
  kIoReloc = 4,  // wherever the caller's are: nothing is copied
};

// bm_device_mem_t
struct Memory {
  std::uint64_t address;
  std::uint32_t reserved;
  std::int32_t dmabuf;
  std::uint32_t flags;  // the kind of memory, 0 on a device, and the heap
  std::uint32_t size;   // bytes
};

// bm_shape_t
struct Shape {
  std::int32_t rank;
  std::int32_t dims[8];
};

// bm_tensor_t
struct Tensor {
  std::int32_t dtype;
  Shape shape;
  Memory memory;
  std::int32_t store_mode;  // 0
};

// bm_stage_info_t: one set of shapes a net was compiled for. The arrays have an entry a tensor.
struct StageInfo {
  Shape* input_shapes;
  Shape* output_shapes;
  Memory* input_memory;
  Memory* output_memory;
};

// bm_net_info_t
struct NetInfo {
  const char* name;
  bool dynamic;
  std::int32_t inputs;
  const char** input_names;
  std::int32_t* input_types;
  float* input_scales;
  std::int32_t outputs;
  const char** output_names;
  std::int32_t* output_types;
  float* output_scales;
  std::int32_t stages;
  StageInfo* stage;
  std::size_t* max_input_bytes;
  std::size_t* max_output_bytes;
  std::int32_t* input_zero_points;
  std::int32_t* output_zero_points;
  std::int32_t* input_devices;  // places in the list of handles given to bmrt_create_ex
  std::int32_t* output_devices;
  std::int32_t cores;
  std::int32_t address_mode;
};

// bm_dev_stat_t
struct DeviceStat {
  std::int32_t memory_total;  // MiB
  std::int32_t memory_used;   // MiB
  std::int32_t utilisation;   // percent
  std::int32_t heaps;
  struct {
    std::uint32_t total, available, used;
  } heap[4];
};

static_assert(sizeof(Memory) == 24 && sizeof(Shape) == 36 && sizeof(Tensor) == 72);
static_assert(sizeof(StageInfo) == 32 && sizeof(NetInfo) == 144 && sizeof(DeviceStat) == 64);

// Every call in use: the library it is in, its name, and its type. Where the type says `int`, that
// is a bm_status_t and 0 means success.
#define GLMD_SOPHON_CALLS(X)                                                                       \
  X(bmlib, bm_dev_getcount, int(int*))                                                             \
  X(bmlib, bm_dev_request, int(Handle*, int))                                                      \
  X(bmlib, bm_dev_free, void(Handle))                                                              \
  X(bmlib, bm_get_chipid, int(Handle, unsigned*))                                                  \
  X(bmlib, bm_get_stat, int(Handle, DeviceStat*))                                                  \
  X(bmlib, bm_get_chip_temp, int(Handle, unsigned*))                                               \
  X(bmlib, bm_malloc_device_byte, int(Handle, Memory*, unsigned))                                  \
  X(bmlib, bm_free_device, void(Handle, Memory))                                                   \
  X(bmlib, bm_memset_device_ext, int(Handle, void*, int, Memory))                                  \
  X(bmlib, bm_memcpy_s2d, int(Handle, Memory, void*))                                              \
  X(bmlib, bm_memcpy_d2s, int(Handle, void*, Memory))                                              \
  X(bmlib, bm_memcpy_d2d_byte, int(Handle, Memory, std::size_t, Memory, std::size_t, std::size_t)) \
  X(bmlib, bm_thread_sync, int(Handle))                                                            \
  X(bmrt, bmrt_create_ex, Runtime(Handle*, int))                                                   \
  X(bmrt, bmrt_destroy, void(Runtime))                                                             \
  X(bmrt, bmrt_load_bmodel, bool(Runtime, const char*))                                            \
  X(bmrt, bmrt_get_network_number, int(Runtime))                                                   \
  X(bmrt, bmrt_get_network_names, void(Runtime, const char***))                                    \
  X(bmrt, bmrt_get_network_info, const NetInfo*(Runtime, const char*))                             \
  X(bmrt, bmrt_launch_tensor_ex,                                                                   \
    bool(Runtime, const char*, const Tensor*, int, Tensor*, int, bool, bool))

}  // namespace glmd::bm1684x::sophon
