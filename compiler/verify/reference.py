"""What each net should give: torch in float32, on the weights as the bmodel has them.

A net's inputs are what torch computed for the nets before it, rounded to what the bmodel takes
(teacher-forced), so that each net answers for itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.names import EMBEDDING
from glmd.compiler.build import Build
from glmd.compiler.nets import Net, Port
from glmd.compiler.seed.weights import Weights, checkpoint_weights
from glmd.compiler.verify.quantisation import dequantised

MASKED = -10000.0

SEED = 20240401
_DTYPES = {"f16": np.float16, "f32": np.float32, "i32": np.int32}


@dataclass(frozen=True)
class Expected:
    """`rows`: how many of each output's first axis count; behind them is padding."""

    net: Net
    inputs: list[NDArray[np.generic]]
    outputs: list[NDArray[np.float32]]
    rows: int | None = None


def rounded(net: Net, inputs: Iterable[Tensor]) -> list[NDArray[np.generic]]:
    """`inputs` as the bmodel takes them."""
    return [
        tensor.numpy().astype(_DTYPES[port.dtype])
        for port, tensor in zip(net.inputs, inputs, strict=True)
    ]


def computed(
    module: Callable[..., Tensor | tuple[Tensor, ...]],
    net: Net,
    inputs: Iterable[NDArray[np.generic]],
) -> list[Tensor]:
    """What `module` gives for them."""
    with torch.no_grad():
        found = module(*(_tensor(port, x) for port, x in zip(net.inputs, inputs, strict=True)))
    return list(found) if isinstance(found, tuple) else [found]


def device_weights(checkpoint: Checkpoint, build: Build) -> Weights:
    """The checkpoint's tensors with what F16 and the mode's quantisation leave of them."""
    read = checkpoint_weights(checkpoint)

    def weight(name: str) -> Tensor:
        tensor = read(name)
        if tensor.dim() == 2 and name != EMBEDDING:
            return dequantised(tensor, build.mode, build.group_size)
        return tensor.half().float()

    return weight


def _tensor(port: Port, array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array.astype(np.int64 if port.dtype == "i32" else np.float32))
