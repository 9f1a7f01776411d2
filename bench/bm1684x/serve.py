"""What TPU-MLIR makes of the serve recipe at full size, priced by the launches that are recorded.

    .venv/bin/python bench/bm1684x/serve.py WORK [--tpu-mlir DIR]
        [--modes int4 int8 f16] [--contexts 512 8192] > bench/bm1684x/serve.md

Needs TPU-MLIR, 4 GiB of free memory and 8 GB of disk for WORK. Run again it goes on from what is in
WORK. Nothing here runs on a chip. The weights of the one layer are random: times do not depend on
them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmd.bmodel.reader import read_bmodel
from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.names import tensor_shapes
from glmd.compiler.build import Build
from glmd.compiler.deploy import CHIP, PROFILE, deploy_options
from glmd.compiler.estimate.estimate import LABEL
from glmd.compiler.estimate.launches import Launch, plain, read_cases
from glmd.compiler.estimate.profile import Profile, read_profile
from glmd.compiler.estimate.serve import ServeEstimate
from glmd.compiler.nets import HEADS, Net
from glmd.compiler.serve.export import net_text
from glmd.compiler.serve.nets import serve_nets
from glmd.compiler.serve.weights import net_weights
from glmd.compiler.toolchain.find import find_toolchain
from glmd.compiler.toolchain.run import run_tool
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.packed import Mode

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
LENGTH = 512
CONTEXTS = (512, 1024, 2048, 4096, 8192)
LAUNCHES = (0.05e-3, 0.1e-3)
MODES: tuple[Mode, ...] = ("int4", "int8", "f16")

# Tokens a second that the vendor published for the seed's nets on real chips.
PUBLISHED: dict[Mode, float] = {"f16": 4.07, "int8": 8.18, "int4": 12.8}

SEED_TABLE = Path(__file__).with_name("README.md")
FACTS = "facts.json"


@dataclass(frozen=True)
class Made:
    """Of one net. Bytes in a bmodel; `digest` tells whether another one has the same weights."""

    profile: Profile
    weights: int
    program: int
    digest: str


class Bench:
    def __init__(self, work: Path, toolchain: Toolchain) -> None:
        self._work = work
        self._toolchain = toolchain
        self._tensors: dict[str, NDArray[np.float32]] = {}

    def made(self, net: Net, build: Build) -> Made:
        folder = self._work / f"{build.mode}_{build.seq_length}" / net.key
        facts = folder / FACTS
        if not facts.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._deploy(net, build, folder)
        weights, program, digest = json.loads(facts.read_text())
        profile = read_profile(folder / PROFILE)
        assert profile is not None, net.key
        return Made(profile, weights, program, digest)

    def _deploy(self, net: Net, build: Build, folder: Path) -> None:
        weights = self._weights(net, build.seq_length)
        mlir = folder / f"{net.name}.mlir"
        path = os.path.relpath(weights, folder)
        mlir.write_text(net_text(net, CONFIG, build.seq_length, path))
        command = ["--mlir", mlir.name, "--chip", CHIP, "--model", f"{net.name}.bmodel"]
        print(f"{build.mode} {build.seq_length} {net.key}", file=sys.stderr, flush=True)
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
                np.savez(file, **net_weights(net, CONFIG, seq_length, self._random))
            part.replace(path)
        return path

    def _random(self, name: str) -> NDArray[np.float32]:
        if name not in self._tensors:
            shape = tensor_shapes(CONFIG)[name]
            rng = np.random.default_rng(0)
            self._tensors[name] = rng.standard_normal(shape, dtype=np.float32) * 0.02
        return self._tensors[name]


def nets(seq_length: int, kinds: Iterable[str]) -> list[Net]:
    return [net for net in serve_nets(CONFIG, seq_length) if net.kind in kinds]


def measured(bench: Bench, mode: Mode) -> dict[Net, Made]:
    build = Build(mode=mode, recipe="serve", seq_length=LENGTH)
    kinds = ("prefill", "chunk", "decode", "lm_head")
    assert not set(kinds) & set(HEADS)
    return {net: bench.made(net, build) for net in nets(LENGTH, kinds)}


def profiles(found: dict[Net, Made]) -> dict[Launch, Profile | None]:
    return {(plain(net.name)[0], net.rows or 1): made.profile for net, made in found.items()}


def net_table(found: dict[Mode, dict[Net, Made]]) -> list[str]:
    lines = ["| net | rows | " + " | ".join(found) + " |", "|---|--:|" + "--:|" * len(found)]
    for launch in profiles(next(iter(found.values()))):
        cells = []
        for made in found.values():
            profile = profiles(made)[launch]
            assert profile is not None
            cells.append(f"{1e3 * profile.seconds:.2f} ms, {profile.ddr_bytes / 1e6:.0f} MB")
        lines.append(f"| {launch[0]} | {launch[1]} | {' | '.join(cells)} |")
    return lines


def case_table(mode: Mode, found: dict[Net, Made]) -> list[str]:
    estimate = ServeEstimate(profiles(found), read_cases(), LAYERS)
    speed, first = seed_figures(mode)
    costs = " | ".join(f"{1e3 * cost:g} ms a launch" for cost in LAUNCHES)
    lines = [
        f"| {mode} | launches | {costs} | seed recipe, no launches | published |",
        "|---|--:|" + "--:|" * len(LAUNCHES) + "--:|--:|",
    ]
    for name in estimate.possible():
        cells = []
        for cost in LAUNCHES:
            together = estimate.tokens_per_second(name, cost)
            milliseconds = f"{1e3 * estimate.seconds(name, cost):.1f} ms"
            cells.append(f"{together:.1f} tokens/s" if together else milliseconds)
        # The seed's nets read 512 positions whatever the prompt, and one conversation at a time.
        decode = name.startswith("decode")
        seed = f"{speed:.2f} tokens/s" if decode else f"{1e3 * first:.0f} ms"
        published = f"{PUBLISHED[mode]} tokens/s" if name == "decode 1" else ""
        launches = estimate.cases[name].launches(LAYERS)
        lines.append(f"| {name} | {launches} | {' | '.join(cells)} | {seed} | {published} |")
    return lines


def seed_figures(mode: Mode) -> tuple[float, float]:
    """Tokens a second, and seconds to the first token."""
    row = re.compile(rf"^\| {mode} \|.*\| ([\d.]+) \| ([\d.]+) s \|$", re.MULTILINE)
    match = row.search(SEED_TABLE.read_text())
    if match is None:
        raise SystemExit(f"{SEED_TABLE} has no row of {mode}: make it with measure.py")
    return float(match[1]), float(match[2])


def context_table(bench: Bench, modes: Iterable[Mode], lengths: Sequence[int]) -> list[str]:
    """One conversation: what a longer cache costs."""
    lines = [
        "| mode | " + " | ".join(f"{length} tokens" for length in lengths) + " |",
        "|---|" + "--:|" * len(lengths),
    ]
    for mode in modes:
        cells = []
        for length in lengths:
            build = Build(mode=mode, recipe="serve", seq_length=length)
            (decode,) = (n for n in nets(length, ["decode"]) if n.rows == 1)
            (head,) = (n for n in nets(LENGTH, ["lm_head"]) if n.rows == 1)
            made = {
                decode: bench.made(decode, build),
                head: bench.made(head, Build(mode=mode, recipe="serve", seq_length=LENGTH)),
            }
            estimate = ServeEstimate(profiles(made), read_cases(), LAYERS)
            cells.append(f"{estimate.tokens_per_second('decode 1'):.2f} tokens/s")
        lines.append(f"| {mode} | {' | '.join(cells)} |")
    return lines


def size_table(found: dict[Mode, dict[Net, Made]]) -> list[str]:
    """A layer: its weights once and the programs of all nets, against decode of one alone."""
    lines = ["| mode | decode alone | all nets | |", "|---|--:|--:|--:|"]
    for mode, made in found.items():
        layer = {net: facts for net, facts in made.items() if net.layer is not None}
        (alone,) = (facts for net, facts in layer.items() if net.kind == "decode" and net.rows == 1)
        one = alone.weights + alone.program
        stored = {facts.digest: facts.weights for facts in layer.values()}
        whole = sum(stored.values()) + sum(facts.program for facts in layer.values())
        lines.append(f"| {mode} | {one / 1e6:.1f} MB | {whole / 1e6:.1f} MB | {whole / one:.3f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tpu-mlir", type=Path)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--contexts", nargs="+", type=int, default=CONTEXTS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    toolchain = find_toolchain(options.tpu_mlir)
    bench = Bench(options.work.absolute(), toolchain)
    found = {mode: measured(bench, mode) for mode in options.modes}
    contexts = context_table(bench, options.modes, options.contexts)
    lines = [
        "# The serve recipe at full size",
        "",
        "Made by `python bench/bm1684x/serve.py WORK`: a layer of ChatGLM3-6B with a cache of 512 "
        "rows, and lm_head, compiled",
        "with the options of `glmd compile --recipe serve`, groups of 64. What is launched for a "
        "case is compiler/estimate/launches.jsonl.",
        "The host, the embedding and the heads that choose a token are in no time but as launches.",
        "",
        f"{date.today():%Y-%m-%d}, tpu_mlir {toolchain.version}. No number depends on the machine.",
        "",
        f"## Cases ({LABEL})",
        "",
        "`decode N`: all N conversations together, one token each a step.",
        *(line for mode, made in found.items() for line in ["", *case_table(mode, made)]),
        "",
        f"## One conversation by the length of the cache ({LABEL}, 0.1 ms a launch)",
        "",
        *contexts,
        "",
        f"## A launch ({LABEL})",
        "",
        *net_table(found),
        "",
        "## Bytes of a layer in the file",
        "",
        *size_table(found),
    ]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
