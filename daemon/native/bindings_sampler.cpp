// The sampler's part of the module `_engine`.
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings.h"
#include "sampler/chain.h"

namespace py = pybind11;

namespace glmd {
namespace {

using sampler::Parameter;
using sampler::ParameterType;
using sampler::SamplerChain;
using sampler::StageKind;
using sampler::Value;

using Row = Array<float>;
using Ids = Array<std::int32_t>;

std::size_t length_of(const py::array& array, const char* name) {
  if (array.ndim() == 1) return static_cast<std::size_t>(array.size());
  throw py::value_error(std::string(name) + " must be one-dimensional");
}

template <typename T>
Value read(const py::handle& given) {
  return py::cast<T>(given);
}

// A Python value as the parameter's type; an int will do for a float, a bool for neither.
Value to_value(const std::string& stage, const Parameter& parameter, const py::handle& given) {
  try {
    const bool boolean = py::isinstance<py::bool_>(given);
    switch (parameter.type()) {
      case ParameterType::boolean:
        if (boolean) return read<bool>(given);
        break;
      case ParameterType::integer:
        if (!boolean) return read<std::int64_t>(given);
        break;
      case ParameterType::number:
        if (!boolean) return read<double>(given);
        break;
      case ParameterType::token_bias:
        return read<sampler::TokenBias>(given);
      case ParameterType::token_sequences:
        return read<sampler::TokenSequences>(given);
    }
  } catch (const py::cast_error&) {  // of another type: said below
  }
  throw py::value_error("stage \"" + stage + "\": " + parameter.name + " must be " +
                        type_name(parameter.type()) + ", not " +
                        py::cast<std::string>(py::repr(given)));
}

sampler::StageRequest to_request(const std::string& stage, const py::dict& given) {
  const StageKind& kind = sampler::stage_kind(stage);
  std::map<std::string, Value> values;
  for (const auto& item : given) {
    const auto name = py::cast<std::string>(py::str(item.first));
    for (const Parameter& parameter : kind.parameters) {
      if (parameter.name == name) values.emplace(name, to_value(stage, parameter, item.second));
    }
    values.emplace(name, false);  // a name that the stage does not know is refused by the chain
  }
  return {stage, std::move(values)};
}

std::unique_ptr<SamplerChain> make_chain(
    std::size_t vocab, const std::vector<std::pair<std::string, py::dict>>& stages,
    std::uint64_t seed, std::uint32_t choice, std::uint32_t first_stage) {
  std::vector<sampler::StageRequest> requests;
  for (const auto& [name, parameters] : stages) requests.push_back(to_request(name, parameters));
  return std::make_unique<SamplerChain>(vocab, requests, seed, choice, first_stage);
}

void apply(const SamplerChain& chain, Row& logits, const Ids& history, std::uint32_t index) {
  const std::size_t vocab = length_of(logits, "logits");
  const std::size_t length = length_of(history, "history");
  if (vocab != chain.vocab()) {
    throw py::value_error("logits has " + std::to_string(vocab) +
                          " numbers, but the chain was made for a vocabulary of " +
                          std::to_string(chain.vocab()));
  }
  if (!logits.writeable()) throw py::value_error("logits is read-only");
  float* row = logits.mutable_data();
  const std::int32_t* ids = history.data();
  const py::gil_scoped_release release;
  chain.apply(row, ids, length, index);
}

std::size_t draw(const Row& logits, std::uint64_t seed, std::uint32_t choice, std::uint32_t index) {
  const std::size_t vocab = length_of(logits, "logits");
  const float* row = logits.data();
  const py::gil_scoped_release release;
  return sampler::draw(row, vocab, seed, choice, index);
}

std::pair<double, std::vector<std::pair<std::int32_t, double>>> top_logprobs(const Row& logits,
                                                                             std::int64_t token,
                                                                             std::int64_t k) {
  const std::size_t vocab = length_of(logits, "logits");
  if (token < 0 || static_cast<std::size_t>(token) >= vocab) {
    throw py::value_error("token " + std::to_string(token) + " is outside the vocabulary of " +
                          std::to_string(vocab));
  }
  if (k < 0) throw py::value_error("k is " + std::to_string(k) + ", it must not be negative");
  const float* row = logits.data();
  const py::gil_scoped_release release;
  sampler::TopLogprobs result = sampler::top_logprobs(row, vocab, static_cast<std::size_t>(token),
                                                      static_cast<std::size_t>(k));
  return {result.logprob, std::move(result.top)};
}

py::dict stage_parameters() {
  py::dict stages;
  for (const StageKind& kind : sampler::stage_kinds()) {
    py::dict parameters;
    for (const Parameter& parameter : kind.parameters) {
      parameters[parameter.name.c_str()] =
          py::make_tuple(type_name(parameter.type()), parameter.default_value);
    }
    stages[kind.name.c_str()] = parameters;
  }
  return stages;
}

}  // namespace

void bind_sampler(py::module_& m) {
  py::class_<SamplerChain>(m, "SamplerChain")
      .def(py::init(&make_chain), py::arg("vocab"), py::arg("stages"), py::kw_only(),
           py::arg("seed"), py::arg("choice"), py::arg("first_stage") = 0)
      .def("apply", &apply, py::arg("logits").noconvert(), py::arg("history").noconvert(),
           py::arg("index"));
  m.def("draw", &draw, py::arg("logits").noconvert(), py::kw_only(), py::arg("seed"),
        py::arg("choice"), py::arg("index"));
  m.def("top_logprobs", &top_logprobs, py::arg("logits").noconvert(), py::arg("token"),
        py::arg("k"));
  m.def("stage_parameters", &stage_parameters);
}

}  // namespace glmd
