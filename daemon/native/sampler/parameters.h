// The typed parameters of a stage, as a request names them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace glmd::sampler {

using TokenBias = std::vector<std::pair<std::int32_t, double>>;  // (token id, added to its logit)
using TokenSequences = std::vector<std::vector<std::int32_t>>;

// The alternatives stand in the order of ParameterType.
using Value = std::variant<bool, std::int64_t, double, TokenBias, TokenSequences>;
enum class ParameterType : std::uint8_t { boolean, integer, number, token_bias, token_sequences };

const char* type_name(ParameterType type) noexcept;

// `low` and `high` are the bounds of numbers, both allowed.
struct Parameter {
  std::string name;
  Value default_value;
  double low = 0.0;
  double high = 0.0;

  ParameterType type() const noexcept { return static_cast<ParameterType>(default_value.index()); }
};

// Parameters of one stage by name. Reading one that is absent or of another type is a bug in the
// caller: `complete` has put every default in and checked every type.
class Parameters {
 public:
  explicit Parameters(std::map<std::string, Value> values) : values_(std::move(values)) {}

  template <typename T>
  const T& get(const std::string& name) const {
    return std::get<T>(values_.at(name));
  }

 private:
  std::map<std::string, Value> values_;
};

// `given` with the defaults of `known` filled in. Throws std::invalid_argument for a parameter that
// the stage does not have, a value of another type, or one out of range.
Parameters complete(const std::string& stage, const std::vector<Parameter>& known,
                    std::map<std::string, Value> given);

}  // namespace glmd::sampler
