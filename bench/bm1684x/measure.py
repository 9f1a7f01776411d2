"""What TPU-MLIR makes of one full-size layer and the heads: its times, and its split over devices.

    .venv/bin/python bench/bm1684x/measure.py WORK [--tpu-mlir DIR] > bench/bm1684x/README.md

Needs torch and onnx, TPU-MLIR, 4 GiB of free memory and 10 GB of disk for WORK. Run again it goes
on from what is in WORK. Nothing here runs on a chip.

The weights are random: times do not depend on them. For the same reason the model is exported and
transformed with few hidden values, which takes seconds instead of minutes and 12 GiB, and the
sizes in the result are then replaced: what comes out is the text that a transform of the full size
writes. It is deployed with the options of `glmd compile`, in each mode, a layer for 1, 2 and 4
devices.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from datetime import date
from pathlib import Path

import numpy as np
import psutil

from glmd.bmodel.nets import Bmodel
from glmd.bmodel.reader import read_bmodel
from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.deploy import CHIP, PROFILE, deploy_options
from glmd.compiler.estimate.estimate import LABEL, Estimate
from glmd.compiler.estimate.profile import Profile, read_profile
from glmd.compiler.nets import HEADS, Net
from glmd.compiler.seed.export import export_net
from glmd.compiler.seed.nets import seed_nets
from glmd.compiler.toolchain.find import find_toolchain
from glmd.compiler.toolchain.run import run_tool
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.errors import CompileFailed
from glmd.packed import Mode

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.checkpoints import Shape, write_checkpoint

# ChatGLM3-6B, of which one layer is made and all are counted.
LAYERS = 28
NARROW = Shape(
    layers=1, hidden=72, heads=32, kv_heads=2, head_dim=128, ffn=104, vocab=328, seq_length=512
)
FULL = {NARROW.hidden: 4096, NARROW.ffn: 13696, NARROW.vocab: 65024}
LENGTH = 512
NOTE = """\
Made by `python bench/bm1684x/measure.py WORK`: a layer of ChatGLM3-6B for 512 positions and the
heads, compiled with the options of `glmd compile`. A token is 28 layers and lm_head; launches, host
and embedding are in none of the numbers. `glmd compile estimate` prints them for any checkpoint.
"""
MODES: tuple[Mode, ...] = ("f16", "int8", "int4")
DEVICES = (1, 2, 4)
SPLIT = "block_cache"


class Bench:
    def __init__(self, work: Path, toolchain: Toolchain) -> None:
        self._work = work
        self._toolchain = toolchain
        self._checkpoint = Checkpoint.open(write_checkpoint(work / "narrow", NARROW))
        nets = seed_nets(self._checkpoint.config, LENGTH)
        self.nets = [net for net in nets if net.kind != "embedding"]

    def deployed(self, net: Net, mode: Mode, devices: int) -> Path:
        """The folder of NET.bmodel and the profile."""
        folder = self._work / net.name / f"{mode}_{devices}dev"
        model = folder / f"{net.name}.bmodel"
        if model.exists():
            return folder
        mlir = self._transformed(net)
        folder.mkdir(exist_ok=True)
        build = Build(mode=mode, num_device=devices, seq_length=LENGTH, recipe="seed")
        command = ["--mlir", mlir.name, "--chip", CHIP, "--model", model.name]
        self._run("deploy", net, [*self._toolchain.deploy(), *command, *deploy_options(net, build)])
        for made in (mlir.with_name(PROFILE), mlir.with_name(model.name)):
            made.replace(folder / made.name)
        for left in mlir.parent.glob(f"{net.name}_*{CHIP}*"):
            left.unlink()
        return folder

    def _transformed(self, net: Net) -> Path:
        folder = self._work / net.name
        mlir = folder / f"{net.name}.mlir"
        if not mlir.exists():
            folder.mkdir(exist_ok=True)
            onnx = folder / f"{net.name}.onnx"
            export_net(self._checkpoint, net, LENGTH, onnx, "cpu")
            names = ["--model_name", net.name, "--model_def", onnx.name, "--mlir", mlir.name]
            self._run("transform", net, [*self._toolchain.transform(), *names])
            onnx.unlink()
            for weights in folder.glob("*_weight.npz"):
                widen_weights(weights)
            text = mlir.read_text()
            mlir.write_text(re.sub(r"tensor<[^>]*>", lambda found: widen(found[0]), text))
        return mlir

    def _run(self, step: str, net: Net, command: list[str]) -> None:
        print(f"{net.name}: {' '.join(command[2:])}", file=sys.stderr, flush=True)
        folder = self._work / net.name
        run_tool(
            self._toolchain, command, folder=folder, log=folder / "log", step=step, net=net.name
        )


def widen(shape: str) -> str:
    """The type of a tensor, as "tensor<1x1x72xf32>"."""
    return re.sub(r"(?<=[<x])\d+(?=x)", lambda size: str(FULL.get(int(size[0]), size[0])), shape)


def widen_weights(path: Path) -> None:
    rng = np.random.default_rng(0)
    widened = {}
    with np.load(path) as weights:
        for name, values in weights.items():
            shape = tuple(FULL.get(size, size) for size in values.shape)
            if shape != values.shape:
                values = rng.standard_normal(shape, dtype=np.float32) * 0.02
            widened[name] = values
    np.savez(path, **widened)


def times(bench: Bench) -> list[str]:
    lines = [
        f"## Times of one chip ({LABEL})",
        "",
        "| mode | block (512 tokens) | block_cache | lm_head | penalty_sample_head | tokens/s "
        "| first token |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for mode in MODES:
        found: dict[str, Profile | None] = {}
        for net in bench.nets:
            # The heads are the same in every mode.
            folder = bench.deployed(net, "f16" if net.kind in HEADS else mode, 1)
            found[net.kind] = read_profile(folder / PROFILE)
        counts = {"block_cache": LAYERS, "lm_head": 1}, {"block": LAYERS, "lm_head": 1}
        estimate = Estimate(found, *counts)
        cells = [
            f"{1e3 * profile.seconds:.2f} ms, {profile.ddr_bytes / 1e6:.0f} MB"
            for kind in ("block", "block_cache", "lm_head", "penalty_sample_head")
            if (profile := found[kind])
        ]
        lines.append(
            f"| {mode} | {' | '.join(cells)} | {estimate.tokens_per_second:.2f} "
            f"| {estimate.first_token_seconds:.2f} s |"
        )
    return lines


def split(bench: Bench) -> list[str]:
    lines = [
        "## Weights of a layer on each device (block_cache)",
        "",
        f"| mode | {' | '.join(f'{n} devices' if n > 1 else '1 device' for n in DEVICES)} |",
        f"|---|{'--:|' * len(DEVICES)}",
    ]
    (net,) = (net for net in bench.nets if net.kind == SPLIT)
    for mode in MODES:
        cells = []
        for devices in DEVICES:
            try:
                folder = bench.deployed(net, mode, devices)
            except CompileFailed:
                cells.append("TPU-MLIR aborts")
                continue
            cells.append(_weights(read_bmodel(folder / f"{net.name}.bmodel")))
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return lines


def _weights(model: Bmodel) -> str:
    return " + ".join(f"{model.memory(d).weights / 1e6:.1f}" for d in range(model.devices)) + " MB"


def machine(toolchain: Toolchain) -> str:
    memory = psutil.virtual_memory().total >> 30
    return (
        f"{date.today():%Y-%m-%d}, tpu_mlir {toolchain.version}, {platform.machine()}, "
        f"{os.cpu_count()} cores, {memory} GiB of memory.\n"
        "The machine decides how long compiling takes, and no number below."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tpu-mlir", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    toolchain = find_toolchain(options.tpu_mlir)
    bench = Bench(options.work.absolute(), toolchain)
    sections = [*times(bench), "", *split(bench)]
    title = "# The seed recipe at full size"
    print("\n".join([title, "", NOTE, machine(toolchain), "", *sections]))


if __name__ == "__main__":
    main()
