"""What a run needs of disk and memory, known before it begins.

Measured with tpu_mlir 1.30.2 on nets of real size; docs/compile.md has the numbers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from glmd.compiler.build import Recipe
from glmd.compiler.deploy import quantise
from glmd.compiler.nets import Net
from glmd.compiler.parameters import parameters
from glmd.errors import CompileFailed

if TYPE_CHECKING:
    from glmd.compiler.pipeline import Pipeline

# Of the hungriest step, which is the transform where there is one: bytes, and bytes a parameter.
TOOL_BASE = 500 << 20
TOOL_BYTES: dict[Recipe, int] = {"seed": 44, "serve": 8}

# Of an exported net, and of what the tools write beside it while they work.
EXPORT_BYTES = 4
SCRATCH_BYTES = 14

# A net's bmodel: its weights, and the chip's program, which is the same in each.
BASE_BYTES = 6 << 20
WEIGHT_BYTES = {"F16": 2.0, "W8F16": 1.05, "W4F16": 0.55, "F32": 4.0}

_SHARE = 0.9  # of the free memory that the tools of all jobs may take


def tool_memory(count: int, recipe: Recipe) -> int:
    """Of the tools that compile a net of `count` parameters, bytes."""
    return TOOL_BASE + TOOL_BYTES[recipe] * count


def room_for_tools() -> int:
    return int(_SHARE * psutil.virtual_memory().available)


def default_jobs() -> int:
    """As many nets at once as there are processors for; memory may allow fewer."""
    return len(os.sched_getaffinity(0))


def check_room(pipeline: Pipeline, nets: Sequence[Net], *, every_export: bool = False) -> None:
    """Raises CompileFailed where `nets` cannot be compiled for want of disk or memory.
    `every_export`: what is exported of all of them is there at once."""
    if not nets:
        return
    config, jobs, build = pipeline.checkpoint.config, pipeline.jobs, pipeline.build
    # Nets with the same weights are exported with one copy of them, and joined to one bmodel.
    families: dict[str, list[Net]] = {}
    for net in nets:
        families.setdefault(net.family, []).append(net)
    counts = sorted((parameters(family[0], config) for family in families.values()), reverse=True)
    _check_memory(tool_memory(counts[0], build.recipe))
    models = {
        name: BASE_BYTES + WEIGHT_BYTES[quantise(nets[0], build.mode)] * parameters(nets[0], config)
        for name, nets in families.items()
    }
    apart = max(models[name] * (len(nets) - 1) for name, nets in families.items())
    exported = counts if every_export else counts[:jobs]
    needed = EXPORT_BYTES * sum(exported) + SCRATCH_BYTES * sum(counts[:1] * jobs) + apart
    # The nets, and the bmodel made of them, which holds the weights of each layer once.
    _check_disk(pipeline.workspace.folder, int(needed + 1.5 * sum(models.values())))


def _check_memory(needed: int) -> None:
    free = psutil.virtual_memory().available
    if needed > free:
        raise CompileFailed(
            f"TPU-MLIR needs about {_gib(needed)} of memory for the largest net, "
            f"and {_gib(free)} are available.",
            hint="End other programs, or compile on a machine with more memory.",
        )


def _check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CompileFailed(
            f"Compiling needs about {_gib(needed)} of disk in {folder}, and {_gib(free)} are free.",
            hint="Make room, or give another --out.",
        )


def _gib(nbytes: float) -> str:
    return f"{nbytes / (1 << 30):.1f} GiB"
