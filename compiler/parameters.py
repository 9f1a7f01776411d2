"""How much of the checkpoint a net holds."""

from __future__ import annotations

from math import prod

from msgspec.structs import replace

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.names import EMBEDDING, FINAL_NORM, OUTPUT, tensor_shapes
from glmd.compiler.nets import Net


def parameters(net: Net, config: ModelConfig) -> int:
    """Numbers in the weights of `net`; all layers are alike."""
    shapes = tensor_shapes(replace(config, num_layers=1))
    parts = {"embedding": (EMBEDDING,), "lm_head": (FINAL_NORM, OUTPUT)}
    if net.layer is None:
        return sum(prod(shapes[name]) for name in parts.get(net.kind, ()))
    return sum(prod(shape) for name, shape in shapes.items() if ".layers." in name)
