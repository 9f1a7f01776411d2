// libbmlib and libbmrt, found and opened at run time: glmd is built without them, and imports on
// machines that have neither.
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bm1684x/sophon.h"
#include "engine.h"

namespace glmd::bm1684x {

// Where to look. `folder`: of libbmlib and libbmrt; "" means the loader's own paths, then where
// Sophgo's installers put them. `simulate`: the folder also has the chip's functional simulator,
// libcmodel_bm1684x.so, which runs in the place of a chip.
struct Search {
  std::string folder;
  bool simulate = false;
};

// The calls that every other part here makes. They are found once in a process and stay.
class Library {
 public:
  // Opens both libraries and binds every call. Throws Error naming what was looked for and where,
  // or the calls that the library found does not have.
  explicit Library(const Search& search);
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  bool simulated() const { return simulated_; }

  // To be called when a chip has been opened: the simulator's code is loaded by then.
  void chip_opened() const;

  struct Calls {
#define GLMD_DECLARE(library, name, type) std::add_pointer_t<type> name = nullptr;
    using Handle = sophon::Handle;
    using Memory = sophon::Memory;
    using Tensor = sophon::Tensor;
    using NetInfo = sophon::NetInfo;
    using DeviceStat = sophon::DeviceStat;
    using Runtime = sophon::Runtime;
    GLMD_SOPHON_CALLS(GLMD_DECLARE)
#undef GLMD_DECLARE
  };

  const Calls& calls() const { return calls_; }

 private:
  Calls calls_;
  bool simulated_;
};

// Throws Error with the meaning of a bm_status_t that is not success.
void check_status(const char* call, int status);

[[noreturn]] void threw(const char* call, const char* what);

// Makes one call. A C++ exception that comes out of the C interface becomes an Error.
template <class F, class... Arguments>
auto guarded(const char* name, F function, Arguments&&... arguments) {
  try {
    return function(std::forward<Arguments>(arguments)...);
  } catch (const std::exception& error) {
    threw(name, error.what());
  } catch (...) {
    threw(name, "something unknown");
  }
}

// The same for calls that return a status.
template <class F, class... Arguments>
void checked(const char* name, F function, Arguments&&... arguments) {
  check_status(name, guarded(name, function, std::forward<Arguments>(arguments)...));
}

}  // namespace glmd::bm1684x
