"""What is left of a weight when TPU-MLIR has quantised it.

Its arithmetic, found by comparing with what its bmodels compute: each group along the input has a
zero point and a scale that take its smallest and largest value to the ends of the range.
"""

from __future__ import annotations

from torch import Tensor

from glmd.packed import Mode

STEPS: dict[Mode, int] = {"int8": 255, "int4": 15}


def dequantised(weight: Tensor, mode: Mode, group_size: int) -> Tensor:
    """`weight` [output, input] of a linear layer as the device computes with it, float32."""
    if mode == "f16":
        return weight.half().float()
    steps = STEPS[mode]
    groups = weight.reshape(weight.shape[0], -1, group_size)
    low, high = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
    # A group of equal values has no range: any scale serves that keeps them finite.
    scale = ((high - low) / steps).clamp_min(2.0**-24)
    zero = (-low / scale).round().clamp(0, steps)
    level = (groups / scale + zero).round().clamp(0, steps)
    return ((level - zero) * scale.half().float()).reshape(weight.shape)
