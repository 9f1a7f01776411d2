#include "sampler/parameters.h"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace glmd::sampler {
namespace {

void require_range(const std::string& stage, const Parameter& parameter, double value) {
  if (value >= parameter.low && value <= parameter.high) return;
  std::ostringstream sentence;
  sentence << "stage \"" << stage << "\": " << parameter.name << " is " << value
           << ", it must be between " << parameter.low << " and " << parameter.high;
  throw std::invalid_argument(sentence.str());
}

void check(const std::string& stage, const Parameter& parameter, const Value& value) {
  if (value.index() != parameter.default_value.index()) {
    throw std::invalid_argument("stage \"" + stage + "\": " + parameter.name + " must be " +
                                type_name(parameter.type()));
  }
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    require_range(stage, parameter, static_cast<double>(*integer));
  } else if (const auto* number = std::get_if<double>(&value)) {
    require_range(stage, parameter, *number);
  } else if (const auto* bias = std::get_if<TokenBias>(&value)) {
    for (const auto& item : *bias) require_range(stage, parameter, item.second);
  }
}

}  // namespace

const char* type_name(ParameterType type) noexcept {
  switch (type) {
    case ParameterType::boolean:
      return "bool";
    case ParameterType::integer:
      return "int";
    case ParameterType::number:
      return "float";
    case ParameterType::token_bias:
      return "list[tuple[int, float]]";
    case ParameterType::token_sequences:
      return "list[list[int]]";
  }
  return "";
}

Parameters complete(const std::string& stage, const std::vector<Parameter>& known,
                    std::map<std::string, Value> given) {
  for (const auto& item : given) {
    const auto parameter = std::find_if(known.begin(), known.end(),
                                        [&](const Parameter& p) { return p.name == item.first; });
    if (parameter != known.end()) {
      check(stage, *parameter, item.second);
      continue;
    }
    std::string names;
    for (const Parameter& p : known) names += (names.empty() ? "" : ", ") + p.name;
    throw std::invalid_argument("stage \"" + stage + "\" has no parameter \"" + item.first +
                                "\"; it has " + names);
  }
  for (const Parameter& parameter : known) given.emplace(parameter.name, parameter.default_value);
  return Parameters(std::move(given));
}

}  // namespace glmd::sampler
