"""Weights of one net at a time: of the checkpoint, nothing else is in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.stored import to_float32

Weights = Callable[[str], Tensor]


def checkpoint_weights(checkpoint: Checkpoint, device: str = "cpu") -> Weights:
    """Tensors by their names in the checkpoint, as float32 on `device`."""

    def read(name: str) -> Tensor:
        return torch.from_numpy(to_float32(checkpoint.read(name))).to(device)

    return read
