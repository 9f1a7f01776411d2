"""One net as the compiler's text and its weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.stored import to_float32
from glmd.compiler.nets import Net
from glmd.compiler.serve import heads
from glmd.compiler.serve.dialect import Graph
from glmd.compiler.serve.layer import Layer
from glmd.compiler.serve.weights import net_weights


def export_net(
    checkpoint: Checkpoint, net: Net, seq_length: int, path: Path, weights: Path
) -> None:
    """Write `path`, and the npz that it reads if it is not there yet, float32. Raises ModelError
    for tensors that cannot be read, OSError where the disk does."""
    if not weights.exists():
        _save_weights(checkpoint, net, seq_length, weights)
    # The compiler works in a folder below.
    text = net_text(net, checkpoint.config, seq_length, os.path.relpath(weights, path.parent / "_"))
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def _save_weights(checkpoint: Checkpoint, net: Net, seq_length: int, path: Path) -> None:
    def read(name: str) -> NDArray[np.float32]:
        return to_float32(checkpoint.read(name))

    found = net_weights(net, checkpoint.config, seq_length, read)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **found)  # type: ignore[arg-type]  # numpy takes any name for an array
    part.replace(path)


def net_text(net: Net, config: ModelConfig, seq_length: int, weights: str) -> str:
    """`net` in the compiler's dialect."""
    graph = Graph(net.name, weights)
    match net.kind:
        case "embedding":
            return heads.embedding(graph, net, config)
        case "lm_head":
            return heads.lm_head(graph, net, config)
        case "greedy_head":
            return heads.greedy_head(graph, net)
        case "top_head":
            return heads.top_head(graph, net)
    return Layer(graph, config, net, seq_length).write()
