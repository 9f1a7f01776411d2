// The tensors of one model by their checkpoint names.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cpu/packing.h"
#include "cpu/shape.h"

namespace glmd::cpu {

// A packed matrix; `owner` keeps the bytes alive.
struct Matrix {
  Kind kind = Kind::f16;
  int rows = 0;
  int cols = 0;
  const std::uint8_t* data = nullptr;
  std::shared_ptr<const void> owner;
};

class Weights {
 public:
  // `mode` is what the model is called: "f16", "int8" or "int4". Throws std::invalid_argument.
  Weights(const Shape& shape, std::string mode);

  // Both throw std::invalid_argument for a name that the model has not, a wrong size, and a kind
  // that cannot stand there. The bytes are referenced, never copied.
  void set_matrix(const std::string& name, Kind kind, const std::uint8_t* data, std::size_t bytes,
                  std::shared_ptr<const void> owner);
  void set_vector(const std::string& name, const float* values, std::size_t n);

  const Shape& shape() const { return shape_; }
  const std::string& mode() const { return mode_; }
  std::size_t bytes() const;

  std::vector<std::string> missing() const;
  const Matrix& matrix(const std::string& name) const { return matrices_.at(name); }
  const std::vector<float>& vector(const std::string& name) const { return vectors_.at(name); }

 private:
  const TensorSpec& spec(const std::string& name) const;

  Shape shape_;
  std::string mode_;
  std::map<std::string, TensorSpec> specs_;
  std::map<std::string, Matrix> matrices_;
  std::map<std::string, std::vector<float>> vectors_;  // padded with zeros, see padded()
};

}  // namespace glmd::cpu
