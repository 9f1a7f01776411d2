#include "bm1684x/library.h"

#include <dlfcn.h>

#include "bm1684x/simulator.h"

namespace glmd::bm1684x {
namespace {

// Where the installers of PCIe cards and of SoC boxes put the libraries.
const char* const kFolders[] = {"/opt/sophon/libsophon-current/lib", "/usr/lib/sophon",
                                "/system/lib"};

// Names in the order tried: a system without headers has no name without a version.
const std::vector<std::string> kBmlib{"libbmlib.so.0", "libbmlib.so"};
const std::vector<std::string> kBmrt{"libbmrt.so.1.0", "libbmrt.so"};

// "" stands for the loader's own paths.
std::vector<std::string> folders(const Search& search) {
  if (!search.folder.empty()) return {search.folder, search.folder + "/lib"};
  std::vector<std::string> all{""};
  all.insert(all.end(), std::begin(kFolders), std::end(kFolders));
  return all;
}

// The first of `names` that opens in one of the folders. The libraries find each other by name or
// are opened one after the other, so that no LD_LIBRARY_PATH is needed.
void* open_first(const std::vector<std::string>& names, const Search& search) {
  std::string tried;
  std::string reason;
  for (const std::string& folder : folders(search)) {
    for (const std::string& name : names) {
      const std::string path = folder.empty() ? name : folder + "/" + name;
      if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
      // A file that is there and cannot be opened says more than those that are not.
      const std::string error = dlerror();
      if (error.find("No such file") == std::string::npos) reason = error;
    }
    tried += (tried.empty() ? "" : ", ") + (folder.empty() ? "the loader's paths" : folder);
  }
  throw Error("dlopen", 0,
              names.front() + " was not found in " + tried + (reason.empty() ? "" : ": " + reason));
}

const char* meaning(int status) {
  static const char* const kMeanings[] = {
      "success",       "device not ready", "general failure", "time-out",      "wrong parameter",
      "out of memory", "wrong data",       "device busy",     "not supported", "not supported"};
  const bool known = status >= 0 && status < static_cast<int>(std::size(kMeanings));
  return known ? kMeanings[status] : "unknown status";
}

}  // namespace

Library::Library(const Search& search) : simulated_(search.simulate) {
  if (simulated_) prepare_simulator(search.folder);
  void* const bmlib = open_first(kBmlib, search);
  void* const bmrt = open_first(kBmrt, search);
  std::string missing;
#define GLMD_BIND(library, name, type)                                                     \
  calls_.name =                                                                            \
      reinterpret_cast<std::add_pointer_t<decltype(*calls_.name)>>(dlsym(library, #name)); \
  if (calls_.name == nullptr) missing += (missing.empty() ? "" : ", ") + std::string(#name);
  GLMD_SOPHON_CALLS(GLMD_BIND)
#undef GLMD_BIND
  if (!missing.empty()) {
    Dl_info where{};
    const bool known = calls_.bm_dev_getcount != nullptr &&
                       dladdr(reinterpret_cast<void*>(calls_.bm_dev_getcount), &where) != 0;
    throw Error("dlsym", 0,
                "the Sophgo libraries" +
                    (known ? " beside " + std::string(where.dli_fname) : std::string()) + " lack " +
                    missing + ": they are too old or made for another chip");
  }
}

void Library::chip_opened() const {
  if (simulated_) settle_simulator();
}

void check_status(const char* call, int status) {
  if (status == 0) return;
  throw Error(call, status, std::string(call) + " reports: " + meaning(status));
}

void threw(const char* call, const char* what) {
  throw Error(call, 0, std::string(call) + " threw: " + what);
}

}  // namespace glmd::bm1684x
