// The chip's functional simulator, which Sophgo ships with its compiler: libcmodel_bm1684x.so.
#pragma once

#include <string>

namespace glmd::bm1684x {

// Says to the libraries, before they are opened, that the simulator in `folder` is the firmware:
// without that they end the process. Throws Error when it is not there.
void prepare_simulator(const std::string& folder);

// The simulator's threads wait for each other by unlocking and locking a mutex, without ever
// giving up the processor. Made to yield there, it is some twenty times faster on few cores. And it
// prints lines at each token that tell nothing: they are left out. Does nothing where that has been
// done, or where the simulator is built in another way.
void settle_simulator();

// What the simulator's prints go through, in the place of __printf_chk, which printf is in code
// that was compiled with _FORTIFY_SOURCE. Returns the characters printed, 0 for a line left out.
int print_what_matters(int flag, const char* format, ...);

}  // namespace glmd::bm1684x
