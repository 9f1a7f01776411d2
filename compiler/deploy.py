"""From an exported net to a bmodel: TPU-MLIR's transform, deploy and combine.

Its tools write beside themselves, so that each net has a folder of its own.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from glmd.compiler.build import Build
from glmd.compiler.nets import HEADS, Net
from glmd.compiler.split import check_split
from glmd.compiler.stamp import clear_padding, remove_time
from glmd.compiler.toolchain.run import run_tool
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.packed import Mode

CHIP = "bm1684x"

# What becomes of the weights of a layer and of lm_head.
QUANTISE: dict[Mode, str] = {"f16": "F16", "int8": "W8F16", "int4": "W4F16"}

LOG = "log"
PROFILE = "compiler_profile_0.txt"

_WORK = "work-"


def quantise(net: Net, mode: Mode) -> str:
    """TPU-MLIR's name for the arithmetic of a net."""
    if net.kind in HEADS:
        return "F32"
    return "F16" if net.kind == "embedding" else QUANTISE[mode]


def quantisation(build: Build) -> dict[str, str]:
    """How the weights of each part of the model are stored, for the manifest."""
    kind = QUANTISE[build.mode]
    layers = kind if kind == "F16" else f"{kind}, groups of {build.group_size}"
    return {"embedding": "F16", "layers": layers, "lm_head": layers}


def deploy_options(net: Net, build: Build) -> list[str]:
    """What model_deploy is told about a net: its quantisation, and that inputs and outputs keep the
    net's own types where those are F16."""
    kind = quantise(net, build.mode)
    options = ["--quantize", kind]
    if kind in ("W8F16", "W4F16"):
        # Always said: without groups (0), 1.30.2 computes wrong numbers in W8F16.
        options += ["--q_group_size", str(build.group_size)]
    if kind != "F32":
        options += ["--quant_input"]
    if net.outputs[0].dtype == "f16":
        options += ["--quant_output"]
    if build.num_device > 1 and net.kind not in HEADS:  # which run on the first device
        options += ["--num_device", str(build.num_device)]
    if build.recipe == "serve":
        # A net works at the addresses that a launch names: in the KV cache, without a copy of it.
        options += ["--addr_mode", "io_reloc"]
    return options


def deploy_net(
    toolchain: Toolchain,
    net: Net,
    build: Build,
    exported: Path,
    *,
    started: Callable[[str], None] = lambda step: None,
    stop: threading.Event | None = None,
) -> Path:
    """`exported` to NET.bmodel, beside it, as the log and the compiler's profile are.

    `exported` and what the tools leave behind are deleted. `started` is told each step,
    `stop` gives up. Raises CompileFailed and Stopped.
    """
    folder = exported.parent
    log, model = folder / LOG, folder / f"{net.name}.bmodel"
    mlir = f"{net.name}.mlir"
    for left in folder.glob(f"{_WORK}*"):
        shutil.rmtree(left, ignore_errors=True)
    # A folder of its own: tools that outlived a killed run may still be writing into theirs.
    with tempfile.TemporaryDirectory(prefix=_WORK, dir=folder, ignore_cleanup_errors=True) as work:
        steps = {}
        if exported.name == mlir:
            shutil.copy(exported, work)
        else:
            steps["transform"] = [
                *toolchain.transform(),
                *("--model_name", net.name, "--model_def", str(exported), "--mlir", mlir),
                # Our nets have nothing to simplify, and that step would take half of the memory.
                *("--do_onnx_sim", ""),
            ]
        steps["deploy"] = [
            *toolchain.deploy(),
            *("--mlir", mlir, "--chip", CHIP, "--model", model.name),
            *deploy_options(net, build),
        ]
        for step, command in steps.items():
            started(step)
            run_tool(
                toolchain,
                command,
                folder=Path(work),
                log=log,
                step=step,
                net=net.key,
                stop=stop,
            )
        if build.num_device > 1:
            check_split(net, Path(work, model.name))
        for made in (Path(work, PROFILE), Path(work, model.name)):
            if made.exists():
                made.replace(folder / made.name)
    exported.unlink()
    return model


def combine(toolchain: Toolchain, models: Sequence[Path], out: Path, folder: Path) -> None:
    """Put the nets of `models` into one bmodel, their log into `folder`. Raises CompileFailed."""
    part = out.with_name(f"{out.name}.part")
    command = [*toolchain.model_tool(), "--combine", *map(str, models), "-o", str(part)]
    run_tool(toolchain, command, folder=folder, log=folder / LOG, step="combine", net=out.name)
    remove_time(part)
    clear_padding(part)
    part.replace(out)
