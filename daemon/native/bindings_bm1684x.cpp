// The BM1684X backend in Python.
#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "bindings.h"
#include "bm1684x/backend.h"

namespace py = pybind11;

namespace glmd {
namespace {

using bm1684x::Bm1684xBackend;
using bm1684x::Traffic;

DeviceStats sophon_stats(int device, const std::string& libsophon) {
  const bm1684x::Library library({libsophon, false});
  return bm1684x::Device(library, device).stats();
}

}  // namespace

void bind_bm1684x(py::module_& m) {
  py::class_<Traffic>(m, "Traffic")
      .def_readonly("launches", &Traffic::launches)
      .def_readonly("uploads", &Traffic::uploads)
      .def_readonly("uploaded", &Traffic::uploaded)
      .def_readonly("downloads", &Traffic::downloads)
      .def_readonly("downloaded", &Traffic::downloaded)
      .def_readonly("copies", &Traffic::copies)
      .def_readonly("copied", &Traffic::copied)
      .def_readonly("cleared", &Traffic::cleared)
      .def_readonly("relocated", &Traffic::relocated)
      .def_readonly("undecided", &Traffic::undecided);

  py::class_<Bm1684xBackend, Backend>(m, "Bm1684xBackend")
      .def(py::init([](std::string path, std::vector<int> devices, int slots, int context,
                       int vocab, std::string quantisation, std::int64_t device_bytes,
                       std::string libsophon, bool simulate, bool trace) {
             const py::gil_scoped_release release;
             return std::make_unique<Bm1684xBackend>(
                 bm1684x::Options{{std::move(libsophon), simulate},
                                  std::move(devices),
                                  std::move(path),
                                  {slots, context, vocab},
                                  std::move(quantisation),
                                  device_bytes,
                                  trace});
           }),
           py::arg("path"), py::kw_only(), py::arg("devices"), py::arg("slots") = 0,
           py::arg("context") = 0, py::arg("vocab") = 0, py::arg("quantisation") = "",
           py::arg("device_bytes") = 0, py::arg("libsophon") = "", py::arg("simulate") = false,
           py::arg("trace") = false)
      .def_property_readonly("traffic", [](const Bm1684xBackend& self) { return self.traffic(); })
      .def("take_trace", [](Bm1684xBackend& self) {
        std::vector<std::pair<std::string, std::vector<std::pair<std::string, int>>>> steps;
        for (auto& step : self.take_trace()) steps.emplace_back(step.name, step.launches);
        return steps;
      });

  m.def("sophon_stats", &sophon_stats, py::arg("device"), py::arg("libsophon") = "",
        py::call_guard<py::gil_scoped_release>());
}

}  // namespace glmd
