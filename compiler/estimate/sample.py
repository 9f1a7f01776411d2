"""Compiling one net of each kind, to read what the compiler says of it."""

from __future__ import annotations

from glmd.compiler.build import Build
from glmd.compiler.deploy import PROFILE
from glmd.compiler.estimate.estimate import Estimate
from glmd.compiler.estimate.profile import read_profile
from glmd.compiler.pipeline import Pipeline
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.errors import CompileFailed


def check_devices(build: Build) -> None:
    """Raises CompileFailed for several."""
    if build.num_device > 1:
        raise CompileFailed(
            "There are estimates for one device only: what several exchange is not modelled.",
            hint="Leave --num-device out.",
        )


def estimate(pipeline: Pipeline, toolchain: Toolchain) -> Estimate:
    """The first layer stands for all, which are alike. The embedding is left out: it is the largest
    net to compile, and a run of it moves a few rows. A later compile uses what is made here.

    Raises CompileFailed, and ModelError where the checkpoint cannot be read.
    """
    check_devices(pipeline.build)
    nets = [n for n in pipeline.nets if n.kind != "embedding" and n.layer in (None, 0)]
    pipeline.make(toolchain, nets)
    layers = pipeline.checkpoint.config.num_layers
    return Estimate(
        {net.name: read_profile(pipeline.workspace.net_folder(net) / PROFILE) for net in nets},
        token={"block_cache_0": layers, "lm_head": 1},
        prompt={"block_0": layers, "lm_head": 1},
    )
