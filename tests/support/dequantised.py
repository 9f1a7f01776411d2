"""What a quantised bmodel should give: the forward pass on the weights as TPU-MLIR leaves them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support import glm_reference
from support.checkpoints import Shape, random_tensors
from support.glm_models import EMBEDDING, HEAD, Model, Tensors

from glmd.packed import Mode

GROUP = 64  # weights that share a scale, as compiled


def dequantised_tensors(shape: Shape, seed: int, mode: Mode, *, head: Mode) -> Tensors:
    """Those of support.checkpoints, float32 by name, of which the matrices went through `mode` and
    the output layer through `head`."""
    import torch

    from glmd.compiler.verify.quantisation import dequantised

    def weight(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
        stored = torch.from_numpy(values.astype(np.float16)).float()
        if values.ndim == 2 and name != EMBEDDING:
            stored = dequantised(stored, head if name == HEAD else mode, GROUP)
        return stored.numpy()

    return {name: weight(name, values) for name, values in random_tensors(shape, seed)}


def logits(shape: Shape, tensors: Tensors, tokens: Iterable[int]) -> NDArray[np.float64]:
    """float64 [tokens, vocab]: behind each of `tokens`."""
    model = Model(
        layers=shape.layers,
        hidden=shape.hidden,
        ffn=shape.ffn,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab=shape.vocab,
        rope_base=10000.0 * shape.rope_ratio,
        norm_eps=shape.norm_eps,
    )
    return glm_reference.logits(model, tensors, np.array(list(tokens), np.int32))
