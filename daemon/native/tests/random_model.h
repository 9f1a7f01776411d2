// ChatGLM3 models with random weights, for tests of the backend.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/backend.h"
#include "cpu/weights.h"
#include "engine.h"

namespace glmd::test {

// Sizes that fill no vector, block or group evenly; vocab 77.
cpu::Shape odd_shape();

// `mode`: f16, int8, int4g32 or int4g64 for all products.
cpu::Weights random_weights(const cpu::Shape& shape, cpu::Kind kind, std::uint64_t seed = 1);

std::vector<std::int32_t> random_tokens(int n, int vocab, std::uint64_t seed);

// All kernels that this CPU can run.
std::vector<const cpu::Kernels*> all_kernels();

// Appends tokens to a slot in one span each, and returns the logits behind each of them.
std::vector<std::vector<float>> append(Backend& backend, int slot, int pos,
                                       const std::vector<std::int32_t>& tokens);

}  // namespace glmd::test
