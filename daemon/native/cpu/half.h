// IEEE 754 binary16 and bfloat16, one number at a time.
#pragma once

#include <cstdint>
#include <cstring>

namespace glmd::cpu {

inline constexpr float kHalfMax = 65504.0F;

inline float bits_to_float(std::uint32_t bits) {
  float value = 0.0F;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline std::uint32_t float_to_bits(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float bfloat_to_float(std::uint16_t b) {
  return bits_to_float(static_cast<std::uint32_t>(b) << 16);
}

// These two choose among results instead of branching, so that loops over them vectorise.
inline float half_to_float(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000U) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(h & 0x7FFFU) << 13;
  // The exponent is rebiased by a multiplication, which also normalises subnormals.
  const std::uint32_t finite = float_to_bits(bits_to_float(magnitude) * 0x1p112F);
  const std::uint32_t bits = magnitude < 0x0F800000U ? finite : magnitude | 0x7F800000U;
  return bits_to_float(sign | bits);
}

// To nearest, ties to even; beyond ±65504 (rounded) infinity.
inline std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = float_to_bits(value);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  // Below 2^-14: adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded.
  const std::uint32_t small = float_to_bits(bits_to_float(magnitude) + 0.5F) - 0x3F000000U;
  const std::uint32_t normal = (magnitude - 0x38000000U + 0xFFFU + (magnitude >> 13 & 1U)) >> 13;
  const std::uint32_t finite = magnitude < 0x38800000U ? small : normal;
  const std::uint32_t special = magnitude > 0x7F800000U ? 0x7E00U : 0x7C00U;  // NaN, infinity
  return static_cast<std::uint16_t>(sign | (magnitude < 0x477FF000U ? finite : special));
}

}  // namespace glmd::cpu
