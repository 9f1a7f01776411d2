#include "cpu/weights.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace glmd::cpu {
namespace {

std::string size_sentence(const std::string& name, const std::string& wanted,
                          const std::string& got) {
  return name + ": expected " + wanted + ", got " + got;
}

}  // namespace

Weights::Weights(const Shape& shape, std::string mode) : shape_(shape), mode_(std::move(mode)) {
  check_shape(shape_);
  if (mode_ != "f16" && mode_ != "int8" && mode_ != "int4") {
    throw std::invalid_argument("unknown mode \"" + mode_ + "\"; there are f16, int8, int4");
  }
  for (TensorSpec& spec : expected_tensors(shape_)) specs_.emplace(spec.name, spec);
}

const TensorSpec& Weights::spec(const std::string& name) const {
  const auto found = specs_.find(name);
  if (found == specs_.end()) {
    throw std::invalid_argument("a ChatGLM3 with " + std::to_string(shape_.layers) +
                                " layers has no tensor named " + name);
  }
  return found->second;
}

void Weights::set_matrix(const std::string& name, Kind kind, const std::uint8_t* data,
                         std::size_t bytes, std::shared_ptr<const void> owner) {
  const TensorSpec& wanted = spec(name);
  if (wanted.cols == 0) throw std::invalid_argument(name + " is a vector, not a matrix");
  if ((name == kEmbedding) != (kind == Kind::rows_f16)) {
    throw std::invalid_argument(name + (name == kEmbedding ? " must be packed as rows_f16"
                                                           : " cannot be packed as rows_f16"));
  }
  if (const std::size_t size = packed_bytes(kind, wanted.rows, wanted.cols); bytes != size) {
    throw std::invalid_argument(size_sentence(name,
                                              std::to_string(size) + " bytes for " +
                                                  std::to_string(wanted.rows) + " × " +
                                                  std::to_string(wanted.cols),
                                              std::to_string(bytes)));
  }
  if (reinterpret_cast<std::uintptr_t>(data) % kAlignment != 0) {
    throw std::invalid_argument(name + " does not start at a multiple of " +
                                std::to_string(kAlignment) + " bytes in memory");
  }
  matrices_[name] = Matrix{kind, wanted.rows, wanted.cols, data, std::move(owner)};
}

void Weights::set_vector(const std::string& name, const float* values, std::size_t n) {
  const TensorSpec& wanted = spec(name);
  if (wanted.cols != 0) throw std::invalid_argument(name + " is a matrix, not a vector");
  if (n != static_cast<std::size_t>(wanted.rows)) {
    throw std::invalid_argument(
        size_sentence(name, std::to_string(wanted.rows) + " values", std::to_string(n)));
  }
  std::vector<float> copy(padded(wanted.rows), 0.0F);
  std::copy_n(values, n, copy.begin());
  vectors_[name] = std::move(copy);
}

std::size_t Weights::bytes() const {
  std::size_t total = 0;
  for (const auto& [name, matrix] : matrices_) {
    total += packed_bytes(matrix.kind, matrix.rows, matrix.cols);
  }
  for (const auto& [name, values] : vectors_) total += values.size() * sizeof(float);
  return total;
}

std::vector<std::string> Weights::missing() const {
  std::vector<std::string> names;
  for (const TensorSpec& spec : expected_tensors(shape_)) {
    if (matrices_.count(spec.name) == 0 && vectors_.count(spec.name) == 0) {
      names.push_back(spec.name);
    }
  }
  return names;
}

}  // namespace glmd::cpu
