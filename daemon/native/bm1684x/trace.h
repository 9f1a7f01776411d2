// What was launched, for whoever prices it.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace glmd::bm1684x {

// One step of the chips: what it was, e.g. "decode 4", and its nets with the rows of the stage.
struct TracedStep {
  std::string name;
  std::vector<std::pair<std::string, int>> launches;
};

class Trace {
 public:
  void keep(bool on) { on_ = on; }
  void begin(const std::string& kind, int rows) {
    if (on_) steps_.push_back({kind + " " + std::to_string(rows), {}});
  }
  void launched(const std::string& net, int rows) {
    if (on_) steps_.back().launches.emplace_back(net, rows);
  }
  std::vector<TracedStep> take() { return std::exchange(steps_, {}); }

 private:
  bool on_ = false;
  std::vector<TracedStep> steps_;
};

}  // namespace glmd::bm1684x
