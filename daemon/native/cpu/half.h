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

inline float half_to_float(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000U) << 16;
  const std::uint32_t magnitude = h & 0x7FFFU;
  if (magnitude >= 0x7C00U) {  // infinity, NaN
    return bits_to_float(sign | 0x7F800000U | (magnitude & 0x3FFU) << 13);
  }
  // The exponent is rebiased by a multiplication, which also normalises subnormals.
  const float value = bits_to_float(magnitude << 13) * 0x1p112F;
  return bits_to_float(sign | float_to_bits(value));
}

// To nearest, ties to even; beyond ±65504 (rounded) infinity.
inline std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = float_to_bits(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return static_cast<std::uint16_t>(sign | 0x7E00U);  // NaN
  if (magnitude >= 0x477FF000U) return static_cast<std::uint16_t>(sign | 0x7C00U);
  std::uint32_t half = 0;
  if (magnitude < 0x38800000U) {
    // Below 2^-14: adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded.
    half = float_to_bits(bits_to_float(magnitude) + 0.5F) - 0x3F000000U;
  } else {
    half = (magnitude - 0x38000000U + 0xFFFU + (magnitude >> 13 & 1U)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

}  // namespace glmd::cpu
