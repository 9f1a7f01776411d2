"""One net as an ONNX file."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.nets import Net, Port
from glmd.compiler.seed.modules import build_module
from glmd.compiler.seed.weights import checkpoint_weights

OPSET = 15


def export_net(
    checkpoint: Checkpoint, net: Net, seq_length: int, path: Path, device: str = "cpu"
) -> None:
    """Write `path`, whole or not at all. Weights and activations in it are float32; in memory is
    what the net needs, twice. Raises ModelError for tensors that cannot be read, OSError where the
    disk does."""
    weights = checkpoint_weights(checkpoint, device)
    module = build_module(net, checkpoint.config, seq_length, weights).eval()
    part = path.with_name(f"{path.name}.part")
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer points out each Python number that it makes a constant: here all are.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(_example(port, device) for port in net.inputs),
            str(part),
            input_names=[port.name for port in net.inputs],
            output_names=[port.name for port in net.outputs],
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    part.replace(path)


def _example(port: Port, device: str) -> Tensor:
    if port.dtype == "i32":
        return torch.zeros(port.shape, dtype=torch.int64, device=device)
    return torch.ones(port.shape, device=device)
