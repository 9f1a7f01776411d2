// The chip's functional simulator, which Sophgo ships with its compiler: libcmodel_bm1684x.so.
#pragma once

#include <string>

namespace glmd::bm1684x {

// Says to the libraries, before they are opened, that the simulator in `folder` is the firmware:
// without that they end the process. Throws Error when it is not there.
void prepare_simulator(const std::string& folder);

// The simulator's threads wait for each other by unlocking and locking a mutex, without ever
// giving up the processor. Made to yield there, it is some twenty times faster on few cores. Does
// nothing where that has been done, or where the simulator is built in another way.
void speed_up_simulator();

}  // namespace glmd::bm1684x
