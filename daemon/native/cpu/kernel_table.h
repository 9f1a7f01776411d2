// All kernels of the including translation unit, compiled with that unit's flags.
#pragma once

#include "cpu/dot_half.h"
#include "cpu/dot_quantised.h"
#include "cpu/kernels.h"
#include "cpu/row_ops.h"

namespace glmd::cpu {
namespace {

constexpr Kernels make_kernels(const char* name) {
  return {
      name,
      dot_half,
      dot_quantised<Int8Format>,
      dot_quantised<Int4G32Format>,
      dot_quantised<Int4G64Format>,
      quantise,
      rms_norm,
      add,
      silu_mul,
      to_half,
      softmax_tile,
      blend,
  };
}

}  // namespace
}  // namespace glmd::cpu
