// The module `_engine`: the contract of engine.h in Python. _engine.pyi describes it.
#include "bindings.h"

#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <utility>

#include "engine.h"

namespace py = pybind11;

namespace glmd {
namespace {

struct PyCancelFlag {
  CancelFlag flag{false};
};

struct PyHeadSettings {
  float temperature;
  float top_p;
  float penalty;
  Array<std::int32_t> history;
};

struct PySpan {
  int slot;
  int pos;
  Array<std::int32_t> tokens;
  Want want;
  std::optional<PyHeadSettings> head;
  int keep;
};

HeadSettings plain(const PyHeadSettings& head) {
  return {head.temperature, head.top_p, head.penalty, head.history.data(),
          static_cast<int>(head.history.size())};
}

struct PyResult {
  Result result;
  py::object logits = py::none();
};

PyObject* new_exception(py::module_& m, const char* name, const char* doc, PyObject* base) {
  const std::string qualified = py::cast<std::string>(m.attr("__name__")) + "." + name;
  PyObject* type = PyErr_NewExceptionWithDoc(qualified.c_str(), doc, base, nullptr);
  if (type == nullptr) throw py::error_already_set();
  m.add_object(name, py::reinterpret_borrow<py::object>(type));
  return type;  // kept for the life of the process
}

PyObject* engine_error = nullptr;
PyObject* step_cancelled = nullptr;

void raise(PyObject* type, const Error& error) {
  const py::object exception = py::reinterpret_borrow<py::object>(type)(error.what());
  exception.attr("call") = error.call();
  exception.attr("status") = error.status();
  PyErr_SetObject(type, exception.ptr());
}

void bind_errors(py::module_& m) {
  engine_error = new_exception(m, "EngineError", "A backend call failed.", PyExc_RuntimeError);
  step_cancelled = new_exception(m, "StepCancelled", "The cancel flag was set.", engine_error);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Cancelled& error) {
      raise(step_cancelled, error);
    } catch (const Error& error) {
      raise(engine_error, error);
    }
  });
}

void bind_facts(py::module_& m) {
  py::native_enum<Want>(m, "Want", "enum.Enum")
      .value("none", Want::none)
      .value("token", Want::token)
      .value("candidates", Want::candidates)
      .value("logits", Want::logits)
      .finalize();
  py::native_enum<Prefill>(m, "Prefill", "enum.Enum")
      .value("from_zero", Prefill::from_zero)
      .value("chunks", Prefill::chunks)
      .value("any", Prefill::any)
      .finalize();
  py::class_<ModelInfo>(m, "ModelInfo")
      .def_readonly("layers", &ModelInfo::layers)
      .def_readonly("hidden", &ModelInfo::hidden)
      .def_readonly("heads", &ModelInfo::heads)
      .def_readonly("kv_heads", &ModelInfo::kv_heads)
      .def_readonly("head_dim", &ModelInfo::head_dim)
      .def_readonly("vocab", &ModelInfo::vocab)
      .def_readonly("max_seq", &ModelInfo::max_seq)
      .def_readonly("quantisation", &ModelInfo::quantisation);
  py::class_<Capabilities>(m, "Capabilities")
      .def_readonly("slots", &Capabilities::slots)
      .def_readonly("decode_batches", &Capabilities::decode_batches)
      .def_readonly("prefill", &Capabilities::prefill)
      .def_readonly("prefill_lengths", &Capabilities::prefill_lengths)
      .def_readonly("chunk_lengths", &Capabilities::chunk_lengths)
      .def_readonly("outputs", &Capabilities::outputs)
      .def_readonly("devices", &Capabilities::devices)
      .def_readonly("saved_bytes", &Capabilities::saved_bytes);
  py::class_<DeviceStats>(m, "DeviceStats")
      .def_readonly("device", &DeviceStats::device)
      .def_readonly("memory_total", &DeviceStats::memory_total)
      .def_readonly("memory_used", &DeviceStats::memory_used)
      .def_readonly("utilisation", &DeviceStats::utilisation)
      .def_readonly("temperature", &DeviceStats::temperature);
}

void bind_step(py::module_& m) {
  py::class_<PyCancelFlag>(m, "CancelFlag")
      .def(py::init<>())
      .def("set", [](PyCancelFlag& self) { self.flag = true; })
      .def("clear", [](PyCancelFlag& self) { self.flag = false; });
  py::class_<PyHeadSettings>(m, "HeadSettings")
      .def(py::init([](float temperature, float top_p, float penalty, Array<std::int32_t> history) {
             if (history.ndim() != 1) throw py::value_error("history must be one-dimensional");
             return PyHeadSettings{temperature, top_p, penalty, std::move(history)};
           }),
           py::arg("temperature"), py::arg("top_p"), py::arg("penalty"),
           py::arg("history").noconvert())
      .def_readonly("temperature", &PyHeadSettings::temperature)
      .def_readonly("top_p", &PyHeadSettings::top_p)
      .def_readonly("penalty", &PyHeadSettings::penalty)
      .def_readonly("history", &PyHeadSettings::history);
  py::class_<PySpan>(m, "Span")
      .def(py::init([](int slot, int pos, Array<std::int32_t> tokens, Want want,
                       std::optional<PyHeadSettings> head, int keep) {
             if (tokens.ndim() != 1) throw py::value_error("tokens must be one-dimensional");
             return PySpan{slot, pos, std::move(tokens), want, std::move(head), keep};
           }),
           py::arg("slot"), py::arg("pos"), py::arg("tokens").noconvert(), py::arg("want"),
           py::arg("head") = py::none(), py::arg("keep") = 0)
      .def_readonly("slot", &PySpan::slot)
      .def_readonly("pos", &PySpan::pos)
      .def_readonly("tokens", &PySpan::tokens)
      .def_readonly("want", &PySpan::want)
      .def_readonly("keep", &PySpan::keep);
  py::class_<PyResult>(m, "Result")
      .def_property_readonly("token", [](const PyResult& self) { return self.result.token; })
      .def_property_readonly("candidate_ids",
                             [](const PyResult& self) {
                               const auto& ids = self.result.candidate_ids;
                               return py::array_t<std::int32_t>(
                                   static_cast<py::ssize_t>(ids.size()), ids.data());
                             })
      .def_property_readonly("candidate_probs",
                             [](const PyResult& self) {
                               const auto& probs = self.result.candidate_probs;
                               return py::array_t<float>(static_cast<py::ssize_t>(probs.size()),
                                                         probs.data());
                             })
      .def_readonly("logits", &PyResult::logits);
}

std::vector<PyResult> forward(Backend& backend, const std::vector<const PySpan*>& spans,
                              const PyCancelFlag& cancel) {
  const int vocab = backend.info().vocab;
  std::vector<Span> plain_spans;
  std::vector<Result> results(spans.size());
  std::vector<PyResult> answers(spans.size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const PySpan& span = *spans[i];
    plain_spans.push_back({span.slot, span.pos, span.tokens.data(),
                           static_cast<int>(span.tokens.size()), span.want,
                           span.head ? plain(*span.head) : HeadSettings{}, span.keep});
    if (span.want == Want::logits) {
      py::array_t<float> logits(vocab);
      results[i].logits = logits.mutable_data();
      answers[i].logits = std::move(logits);
    }
  }
  {
    const py::gil_scoped_release release;
    backend.forward(plain_spans, results, cancel.flag);
  }
  for (std::size_t i = 0; i < spans.size(); ++i) answers[i].result = std::move(results[i]);
  return answers;
}

Array<std::uint8_t> save(Backend& backend, int slot) {
  const auto bytes = backend.length(slot) * backend.capabilities().saved_bytes;
  py::array_t<std::uint8_t> saved(static_cast<py::ssize_t>(bytes));
  std::uint8_t* to = saved.mutable_data();
  {
    const py::gil_scoped_release release;
    backend.save(slot, to);
  }
  return saved;
}

void restore(Backend& backend, int slot, const Array<std::uint8_t>& saved) {
  const std::int64_t each = backend.capabilities().saved_bytes;
  if (saved.ndim() != 1 || (each > 0 && saved.size() % each != 0)) {
    throw py::value_error("these bytes are not what save() gave");
  }
  const int n = each > 0 ? static_cast<int>(saved.size() / each) : 0;
  const std::uint8_t* from = saved.data();
  const py::gil_scoped_release release;
  backend.restore(slot, n, from);
}

void bind_backend(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> no_gil;
  py::class_<Backend>(m, "Backend")
      .def_property_readonly("info", &Backend::info)
      .def_property_readonly("capabilities", &Backend::capabilities)
      .def("forward", &forward, py::arg("spans"), py::arg("cancel"))
      .def("length", &Backend::length, py::arg("slot"))
      .def("truncate", &Backend::truncate, py::arg("slot"), py::arg("n"), no_gil)
      .def("copy_prefix", &Backend::copy_prefix, py::arg("src"), py::arg("dst"), py::arg("n"),
           no_gil)
      .def("release", &Backend::release, py::arg("slot"), no_gil)
      .def("save", &save, py::arg("slot"))
      .def("restore", &restore, py::arg("slot"), py::arg("saved").noconvert())
      .def("stats", &Backend::stats, no_gil);
}

}  // namespace

PYBIND11_MODULE(_engine, m) {
  m.doc() = "The C++ engine: backends and the native sampler.";
  bind_errors(m);
  bind_facts(m);
  bind_step(m);
  bind_backend(m);
  bind_bm1684x(m);
  bind_cpu(m);
  bind_sampler(m);
}

}  // namespace glmd
