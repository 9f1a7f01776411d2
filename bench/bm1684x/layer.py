"""A layer of ChatGLM3-6B and its lm_head, each net compiled at full size.

The weights are random: times do not depend on them. What is made stays in a work folder, and is
not made again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmd.bmodel.reader import read_bmodel
from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.names import tensor_shapes
from glmd.compiler.build import Build
from glmd.compiler.deploy import CHIP, PROFILE, deploy_options
from glmd.compiler.estimate.profile import Profile, read_profile
from glmd.compiler.nets import Kind, Net
from glmd.compiler.serve.export import net_text
from glmd.compiler.serve.nets import serve_nets
from glmd.compiler.serve.weights import net_weights
from glmd.compiler.toolchain.run import run_tool
from glmd.compiler.toolchain.toolchain import Toolchain

# ChatGLM3-6B, of which one layer is made and all are counted.
LAYERS = 28
CONFIG = ModelConfig(
    num_layers=1,
    hidden_size=4096,
    ffn_hidden_size=13696,
    num_attention_heads=32,
    multi_query_group_num=2,
    kv_channels=128,
    padded_vocab_size=65024,
    seq_length=8192,
    layernorm_epsilon=1e-5,
)
FACTS = "facts.json"


@dataclass(frozen=True)
class Made:
    """Of one net. Bytes in a bmodel; `digest` tells whether another one has the same weights."""

    profile: Profile
    weights: int
    program: int
    digest: str


def nets(seq_length: int, *kinds: Kind) -> list[Net]:
    return [net for net in serve_nets(CONFIG, seq_length) if net.kind in kinds]


def folder_of(build: Build, net: Net) -> str:
    return f"{build.mode}_{build.group_size}_{build.seq_length}/{net.key}"


class FullSize:
    def __init__(self, work: Path, toolchain: Toolchain) -> None:
        self._work = work
        self._toolchain = toolchain
        self._tensors: dict[str, NDArray[np.float32]] = {}

    def made(self, net: Net, build: Build) -> Made:
        folder = self._work / folder_of(build, net)
        facts = folder / FACTS
        if not facts.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._deploy(net, build, folder)
        weights, program, digest = json.loads(facts.read_text())
        profile = read_profile(folder / PROFILE)
        if profile is None:
            raise SystemExit(f"{folder}: TPU-MLIR does not time {net.key}")
        return Made(profile, weights, program, digest)

    def _deploy(self, net: Net, build: Build, folder: Path) -> None:
        weights = self._weights(net, build.seq_length)
        mlir = folder / f"{net.name}.mlir"
        path = os.path.relpath(weights, folder)
        mlir.write_text(net_text(net, CONFIG, build.seq_length, path))
        command = ["--mlir", mlir.name, "--chip", CHIP, "--model", f"{net.name}.bmodel"]
        print(folder_of(build, net), file=sys.stderr, flush=True)
        run_tool(
            self._toolchain,
            [*self._toolchain.deploy(), *command, *deploy_options(net, build)],
            folder=folder,
            log=folder / "log",
            step="deploy",
            net=net.key,
        )
        (part,) = read_bmodel(folder / f"{net.name}.bmodel").nets[0].stages[0].parts
        for left in folder.iterdir():
            if left.name not in (PROFILE, "log"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        facts = part.weight_bytes, part.instruction_bytes, part.digest.hex()
        (folder / FACTS).write_text(json.dumps(facts))

    def _weights(self, net: Net, seq_length: int) -> Path:
        suffix = "" if net.layer is None else f"_{seq_length}"
        path = self._work / f"{net.family}{suffix}.npz"
        if not path.exists():
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                found = net_weights(net, CONFIG, seq_length, self._random)
                np.savez(file, **found)  # type: ignore[arg-type]  # numpy takes any name
            part.replace(path)
        return path

    def _random(self, name: str) -> NDArray[np.float32]:
        if name not in self._tensors:
            shape = tensor_shapes(CONFIG)[name]
            rng = np.random.default_rng(0)
            self._tensors[name] = rng.standard_normal(shape, dtype=np.float32) * 0.02
        return self._tensors[name]
