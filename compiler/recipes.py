"""The recipes: which nets there are, and what the compiler is given of each."""

from __future__ import annotations

from pathlib import Path

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.check import check_torch
from glmd.compiler.nets import Net
from glmd.compiler.seed.nets import seed_nets
from glmd.compiler.serve.export import export_net as export_serve
from glmd.compiler.serve.nets import serve_nets


def recipe_nets(config: ModelConfig, build: Build) -> list[Net]:
    """In the order in which they stand in the bmodel."""
    nets = seed_nets if build.recipe == "seed" else serve_nets
    return nets(config, build.seq_length)


def check_export(build: Build) -> None:
    """Raises CompileFailed where the libraries of the recipe's export are not installed."""
    if build.recipe == "seed":
        check_torch()


def export_suffix(build: Build) -> str:
    """Of what `export_net` writes: ONNX, or the compiler's own dialect."""
    return ".onnx" if build.recipe == "seed" else ".mlir"


def export_net(
    checkpoint: Checkpoint, net: Net, build: Build, path: Path, weights: Path, device: str
) -> None:
    """Write `path`, and `weights` where it holds none itself, whole or not at all. Raises
    ModelError for tensors that cannot be read, OSError where the disk does."""
    if build.recipe == "serve":
        export_serve(checkpoint, net, build.seq_length, path, weights)
        return
    # Lazily: torch takes seconds to load, and this recipe alone needs it.
    from glmd.compiler.seed.export import export_net as export_seed

    export_seed(checkpoint, net, build.seq_length, path, device)
