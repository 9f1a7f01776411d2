// What is said of a bmodel that cannot be served.
#pragma once

#include <string>

#include "bm1684x/runtime.h"

namespace glmd::bm1684x {

[[noreturn]] inline void refuse(const std::string& sentence) {
  throw Error("bmrt_get_network_info", 0, "this bmodel cannot be served: " + sentence);
}

[[noreturn]] inline void unexpected(const Graph& graph, const std::string& expected) {
  refuse("it has " + graph.text() + ", and " + expected + " was expected");
}

}  // namespace glmd::bm1684x
