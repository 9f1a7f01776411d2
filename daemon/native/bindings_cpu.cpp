// The CPU backend in Python.
#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "bindings.h"
#include "cpu/backend.h"
#include "cpu/packing.h"

namespace py = pybind11;

namespace glmd {
namespace {

cpu::SourceType source_type(const py::array& matrix) {
  if (py::isinstance<py::array_t<float>>(matrix)) return cpu::SourceType::f32;
  if (py::isinstance<py::array_t<std::uint16_t>>(matrix)) return cpu::SourceType::bf16;
  if (matrix.dtype().kind() == 'f' && matrix.itemsize() == 2) return cpu::SourceType::f16;
  throw py::type_error("pack takes float16, float32, or uint16 holding bfloat16 bits, not " +
                       py::cast<std::string>(py::str(matrix.dtype())));
}

Array<std::uint8_t> pack(const py::array& matrix, const std::string& kind, int threads) {
  if (matrix.ndim() != 2) throw py::value_error("pack takes a matrix [rows, cols]");
  if (matrix.shape(0) > INT32_MAX || matrix.shape(1) > INT32_MAX) {
    throw py::value_error("the matrix has too many rows or columns");
  }
  const cpu::Kind packed_kind = cpu::kind_from_name(kind);
  const cpu::Source source{matrix.data(), source_type(matrix), static_cast<int>(matrix.shape(0)),
                           static_cast<int>(matrix.shape(1)), matrix.strides(0)};
  if (source.cols > 1 && matrix.strides(1) != matrix.itemsize()) {
    throw py::value_error("the columns of the matrix must be contiguous");
  }
  const std::size_t bytes = cpu::packed_bytes(packed_kind, source.rows, source.cols);
  Array<std::uint8_t> packed(static_cast<py::ssize_t>(bytes));
  std::uint8_t* out = packed.mutable_data();
  const py::gil_scoped_release release;
  cpu::ThreadPool pool(threads);
  cpu::pack(source, packed_kind, pool, out);
  return packed;
}

Array<float> unpack(const Array<std::uint8_t>& packed, const std::string& kind, int rows,
                    int cols) {
  const cpu::Kind packed_kind = cpu::kind_from_name(kind);
  const std::size_t bytes = cpu::packed_bytes(packed_kind, rows, cols);
  if (static_cast<std::size_t>(packed.size()) != bytes) {
    throw py::value_error("a " + kind + " matrix of " + std::to_string(rows) + " × " +
                          std::to_string(cols) + " has " + std::to_string(bytes) + " bytes, not " +
                          std::to_string(packed.size()));
  }
  Array<float> matrix({rows, cols});
  float* out = matrix.mutable_data();
  const std::uint8_t* in = packed.data();
  const py::gil_scoped_release release;
  cpu::ThreadPool pool;
  cpu::unpack(in, packed_kind, rows, cols, pool, out);
  return matrix;
}

// Keeps a Python object for C++ code that may let go of it on any thread.
std::shared_ptr<const void> keep_alive(const py::object& object) {
  auto* holder = new py::object(object);
  return {holder, [](const py::object* kept) {
            const py::gil_scoped_acquire acquire;
            delete kept;
          }};
}

void set_matrix(cpu::Weights& weights, const std::string& name, const Array<std::uint8_t>& packed,
                const std::string& kind) {
  weights.set_matrix(name, cpu::kind_from_name(kind), packed.data(),
                     static_cast<std::size_t>(packed.size()), keep_alive(packed));
}

void set_vector(cpu::Weights& weights, const std::string& name, const Array<float>& values) {
  if (values.ndim() != 1) throw py::value_error(name + " must be one-dimensional");
  weights.set_vector(name, values.data(), static_cast<std::size_t>(values.size()));
}

std::vector<std::string> features() {
  if (&cpu::best_kernels() == cpu::avx2_kernels()) return {"avx2", "fma", "f16c"};
  return {};
}

}  // namespace

void bind_cpu(py::module_& m) {
  cpu::best_kernels();  // GLMD_CPU is read here, at import

  py::class_<cpu::Shape>(m, "CpuShape")
      .def(py::init([](int layers, int hidden, int ffn, int heads, int kv_heads, int head_dim,
                       int vocab, float norm_eps, float rope_base) {
             const cpu::Shape shape{layers,   hidden, ffn,      heads,    kv_heads,
                                    head_dim, vocab,  norm_eps, rope_base};
             cpu::check_shape(shape);
             return shape;
           }),
           py::kw_only(), py::arg("layers"), py::arg("hidden"), py::arg("ffn"), py::arg("heads"),
           py::arg("kv_heads"), py::arg("head_dim"), py::arg("vocab"), py::arg("norm_eps"),
           py::arg("rope_base"));

  m.def("pack", &pack, py::arg("matrix"), py::arg("kind"), py::arg("threads") = 0);
  m.def("unpack", &unpack, py::arg("packed").noconvert(), py::arg("kind"), py::arg("rows"),
        py::arg("cols"));

  py::class_<cpu::Weights>(m, "CpuWeights")
      .def(py::init<const cpu::Shape&, std::string>(), py::arg("shape"), py::arg("mode"))
      .def("set_matrix", &set_matrix, py::arg("name"), py::arg("packed").noconvert(),
           py::arg("kind"))
      .def("set_vector", &set_vector, py::arg("name"), py::arg("values").noconvert())
      .def_property_readonly("nbytes", &cpu::Weights::bytes);

  py::class_<cpu::CpuBackend, Backend>(m, "CpuBackend")
      .def(py::init([](const cpu::Weights& weights, int slots, int max_seq, int threads) {
             const py::gil_scoped_release release;
             return std::make_unique<cpu::CpuBackend>(weights, slots, max_seq, threads);
           }),
           py::arg("weights"), py::kw_only(), py::arg("slots"), py::arg("max_seq"),
           py::arg("threads") = 0);

  m.def("cpu_features", &features);
}

}  // namespace glmd
