"""The weights of a net as its graph names them, from the checkpoint.

Matrices are [input, output]. A head of query or key is put in another order: the first members of
its rotary pairs, then the second members, then the half that is not turned, so that turning it
takes three slices of neighbours. Scores are sums over all of a head, and stay the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.names import EMBEDDING, FINAL_NORM, OUTPUT
from glmd.compiler.nets import Net

Array = NDArray[np.float32]
Read = Callable[[str], Array]

ROTARY = "rotary"


def layer_prefix(net: Net) -> str:
    return f"transformer.encoder.layers.{net.layer}"


def net_weights(net: Net, config: ModelConfig, seq_length: int, read: Read) -> dict[str, Array]:
    """By the names and in the shapes in which the graphs ask for them; nets without any: none.
    `read` gives tensors of the checkpoint."""
    match net.kind:
        case "embedding":
            return {EMBEDDING: read(EMBEDDING)}
        case "lm_head":
            return {FINAL_NORM: read(FINAL_NORM)[None], OUTPUT: _turned(read(OUTPUT))}
    if net.layer is None:
        return {}
    return _layer(layer_prefix(net), config, read) | {ROTARY: rotary(config, seq_length)}


def _layer(prefix: str, config: ModelConfig, read: Read) -> dict[str, Array]:
    attention, mlp = f"{prefix}.self_attention", f"{prefix}.mlp"
    heads, groups = config.num_attention_heads, config.multi_query_group_num
    found = {}
    mixed = read(f"{attention}.query_key_value.weight")
    bias = read(f"{attention}.query_key_value.bias")
    start = 0
    for name, count in (("query", heads), ("key", groups), ("value", groups)):
        rows = np.arange(start, start + count * config.kv_channels)
        if name != "value":
            rows = rows.reshape(count, -1)[:, half_order(config.kv_channels)].ravel()
        found[f"{attention}.{name}.weight"] = _turned(mixed[rows])
        found[f"{attention}.{name}.bias"] = bias[None, None, rows]
        start += len(rows)
    found[f"{attention}.dense.weight"] = _turned(read(f"{attention}.dense.weight"))
    gate, up = np.split(read(f"{mlp}.dense_h_to_4h.weight"), 2)
    found[f"{mlp}.gate.weight"], found[f"{mlp}.up.weight"] = _turned(gate), _turned(up)
    found[f"{mlp}.dense_4h_to_h.weight"] = _turned(read(f"{mlp}.dense_4h_to_h.weight"))
    for norm in ("input_layernorm", "post_attention_layernorm"):
        found[f"{prefix}.{norm}.weight"] = read(f"{prefix}.{norm}.weight")[None, None]
    return found


def half_order(width: int) -> NDArray[np.int64]:
    """Where each value of a reordered head comes from."""
    pairs = np.arange(width // 2).reshape(-1, 2)
    return np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(width // 2, width)])


def rotary(config: ModelConfig, seq_length: int) -> Array:
    """Cosines and sines of each position side by side [positions, D / 2]: as two tables they would
    not lie in the same order for all nets."""
    rotated = config.kv_channels // 2
    speeds = config.rope_base ** -(np.arange(0, rotated, 2) / rotated)
    angles = np.arange(seq_length)[:, None] * speeds
    return np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def _turned(matrix: Array) -> Array:
    return np.ascontiguousarray(matrix.T)
