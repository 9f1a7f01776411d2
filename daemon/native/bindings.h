// What the files that bind parts of the module `_engine` share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace glmd {

// Arrays that are taken as they are: a wrong dtype or layout is a TypeError, never a silent copy.
template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

void bind_bm1684x(pybind11::module_& m);
void bind_cpu(pybind11::module_& m);
void bind_sampler(pybind11::module_& m);

}  // namespace glmd
