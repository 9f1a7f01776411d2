"""From an ONNX file to a bmodel: TPU-MLIR's transform, deploy and combine.

Its tools write beside themselves, so that each net has a folder of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from glmd.compiler.build import Build
from glmd.compiler.nets import HEADS, Net
from glmd.compiler.toolchain.run import run_tool
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.packed import Mode

CHIP = "bm1684x"

# What becomes of the weights of a layer and of lm_head.
QUANTISE: dict[Mode, str] = {"f16": "F16", "int8": "W8F16", "int4": "W4F16"}

LOG = "log"
PROFILE = "compiler_profile_0.txt"


def quantise(net: Net, mode: Mode) -> str:
    """TPU-MLIR's name for the arithmetic of a net."""
    if net.kind in HEADS:
        return "F32"
    return "F16" if net.kind == "embedding" else QUANTISE[mode]


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
    if build.num_device > 1:
        options += ["--num_device", str(build.num_device)]
    return options


def deploy_net(toolchain: Toolchain, net: Net, build: Build, folder: Path) -> Path:
    """`folder`/NET.onnx to `folder`/NET.bmodel, beside the log and the compiler's profile.

    The ONNX file and what the tools leave behind are deleted. Raises CompileFailed.
    """
    log, model = folder / LOG, folder / f"{net.name}.bmodel"
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    onnx, mlir = folder / f"{net.name}.onnx", f"{net.name}.mlir"
    transform = ["--model_name", net.name, "--model_def", str(onnx), "--mlir", mlir]
    run_tool(
        toolchain,
        [*toolchain.transform(), *transform],
        folder=work,
        log=log,
        step="transform",
        net=net.name,
    )
    deploy = ["--mlir", mlir, "--chip", CHIP, *deploy_options(net, build), "--model", model.name]
    run_tool(
        toolchain,
        [*toolchain.deploy(), *deploy],
        folder=work,
        log=log,
        step="deploy",
        net=net.name,
    )
    if (work / PROFILE).exists():
        (work / PROFILE).replace(folder / PROFILE)
    (work / model.name).replace(model)
    shutil.rmtree(work)
    onnx.unlink()
    return model


def combine(toolchain: Toolchain, models: Sequence[Path], out: Path, folder: Path) -> None:
    """Put the nets of `models` into one bmodel. Raises CompileFailed."""
    part = out.with_name(f"{out.name}.part")
    command = [*toolchain.model_tool(), "--combine", *map(str, models), "-o", str(part)]
    run_tool(toolchain, command, folder=folder, log=folder / LOG, step="combine", net=out.name)
    part.replace(out)
