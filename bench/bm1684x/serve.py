"""What TPU-MLIR makes of the serve recipe at full size, priced by the launches that are recorded.

    .venv/bin/python bench/bm1684x/serve.py WORK [--tpu-mlir DIR] [--modes int4 int4:128 int8 f16]
        [--contexts 512 8192] --plot bench/bm1684x/serve.svg > bench/bm1684x/serve.md

A mode may have a group size behind it. Needs TPU-MLIR, 4 GiB of free memory and 8 GB of disk for
WORK. Run again it goes on from what is in WORK. Nothing here runs on a chip.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import get_args

from layer import LAYERS, FullSize, Made, nets
from plot import Panel, svg

from glmd.compiler.build import Build
from glmd.compiler.estimate.estimate import LABEL
from glmd.compiler.estimate.launches import Launch, plain, read_cases
from glmd.compiler.estimate.profile import Profile
from glmd.compiler.estimate.serve import LAUNCH_SECONDS, ServeEstimate
from glmd.compiler.nets import Net
from glmd.compiler.toolchain.find import find_toolchain
from glmd.packed import Mode

LENGTH = 512
CONTEXTS = (512, 1024, 2048, 4096, 8192)
LAUNCHES = (0.05e-3, 0.1e-3)
BATCHES = (1, 2, 4, 8)

# Tokens a second that the vendor published for the seed's nets on real chips.
PUBLISHED: dict[Mode, float] = {"f16": 4.07, "int8": 8.18, "int4": 12.8}

SEED_TABLE = Path(__file__).with_name("README.md")


def build_of(word: str) -> Build:
    """`int4`, or `int4:128` for groups of 128."""
    mode, _, group = word.partition(":")
    if mode not in get_args(Mode) or (group and not group.isdecimal()):
        raise argparse.ArgumentTypeError(f"{word!r} is no mode")
    build = Build(mode=mode, recipe="serve", seq_length=LENGTH)  # type: ignore[arg-type]
    return replace(build, group_size=int(group)) if group else build


def name_of(build: Build) -> str:
    return build.mode if build.mode == "f16" else f"{build.mode} g{build.group_size}"


@dataclass(frozen=True)
class Measured:
    """Of one way to store weights: the nets for a cache of 512 rows, and by the length of the cache
    those of one conversation."""

    build: Build
    nets: dict[Net, Made]
    by_length: dict[int, dict[Net, Made]]

    def estimate(self, made: Mapping[Net, Made]) -> ServeEstimate:
        return ServeEstimate(profiles(made), read_cases(), LAYERS)

    def alone(self, length: int) -> float:
        """Tokens a second of one conversation."""
        speed = self.estimate(self.by_length[length]).tokens_per_second("decode 1")
        assert speed is not None
        return speed

    def together(self, batch: int) -> float:
        speed = self.estimate(self.nets).tokens_per_second(f"decode {batch}")
        assert speed is not None
        return speed


def measured(full: FullSize, build: Build, lengths: Sequence[int]) -> Measured:
    made = {
        net: full.made(net, build) for net in nets(LENGTH, "prefill", "chunk", "decode", "lm_head")
    }
    by_length = {}
    for length in lengths:
        (decode,) = (net for net in nets(length, "decode") if net.rows == 1)
        (head,) = (net for net in made if net.kind == "lm_head" and net.rows == 1)
        longer = replace(build, seq_length=length)
        by_length[length] = {decode: full.made(decode, longer), head: made[head]}
    return Measured(build, made, by_length)


def profiles(found: Mapping[Net, Made]) -> dict[Launch, Profile | None]:
    return {(plain(net.name)[0], net.rows or 1): made.profile for net, made in found.items()}


def case_table(found: Measured) -> list[str]:
    estimate = found.estimate(found.nets)
    mode = found.build.mode
    speed, first = seed_figures(mode)
    costs = " | ".join(f"{1e3 * cost:g} ms a launch" for cost in LAUNCHES)
    lines = [
        f"| {name_of(found.build)} | launches | {costs} | seed recipe, no launches | published |",
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
    """Tokens a second, and seconds to the first token, in groups of 64."""
    row = re.compile(rf"^\| {mode} \|.*\| ([\d.]+) \| ([\d.]+) s \|$", re.MULTILINE)
    match = row.search(SEED_TABLE.read_text())
    if match is None:
        raise SystemExit(f"{SEED_TABLE} has no row of {mode}: make it with measure.py")
    return float(match[1]), float(match[2])


def context_table(found: Sequence[Measured], lengths: Sequence[int]) -> list[str]:
    """One conversation: what a longer cache costs."""
    lines = [
        "| mode | " + " | ".join(f"{length} tokens" for length in lengths) + " | last to first |",
        "|---|" + "--:|" * (len(lengths) + 1),
    ]
    for one in found:
        speeds = [one.alone(length) for length in lengths]
        cells = " | ".join(f"{speed:.2f} tokens/s" for speed in speeds)
        change = 100 * (speeds[-1] / speeds[0] - 1)
        lines.append(f"| {name_of(one.build)} | {cells} | {change:+.1f} % |")
    return lines


def net_table(found: Sequence[Measured]) -> list[str]:
    names = " | ".join(name_of(one.build) for one in found)
    lines = [f"| net | rows | {names} |", "|---|--:|" + "--:|" * len(found)]
    for launch in profiles(found[0].nets):
        cells = []
        for one in found:
            profile = profiles(one.nets)[launch]
            assert profile is not None
            cells.append(f"{1e3 * profile.seconds:.2f} ms, {profile.ddr_bytes / 1e6:.0f} MB")
        lines.append(f"| {launch[0]} | {launch[1]} | {' | '.join(cells)} |")
    return lines


def size_table(found: Sequence[Measured]) -> list[str]:
    """A layer: its weights once and the programs of all nets, against decode of one alone."""
    lines = [
        "| mode | decode alone | all nets | | copies of the weights |",
        "|---|--:|--:|--:|--:|",
    ]
    for measured_ in found:
        layer = {net: facts for net, facts in measured_.nets.items() if net.layer is not None}
        (alone,) = (facts for net, facts in layer.items() if net.kind == "decode" and net.rows == 1)
        one = alone.weights + alone.program
        stored = {facts.digest: facts.weights for facts in layer.values()}
        whole = sum(stored.values()) + sum(facts.program for facts in layer.values())
        lines.append(
            f"| {name_of(measured_.build)} | {one / 1e6:.1f} MB | {whole / 1e6:.1f} MB "
            f"| {whole / one:.3f} | {len(stored)} |"
        )
    return lines


def chart(found: Sequence[Measured], lengths: Sequence[int]) -> str:
    seeds = {name_of(one.build): seed_figures(one.build.mode)[0] for one in found}
    together = {
        name_of(one.build): [(batch, one.together(batch)) for batch in BATCHES] for one in found
    }
    alone = {
        name_of(one.build): [(length, one.alone(length)) for length in lengths] for one in found
    }
    title = "tokens/s, all conversations together"
    flat = {name: [(batch, seed) for batch in BATCHES] for name, seed in seeds.items()}
    return svg(
        [
            Panel(title, "conversations (cache of 512 rows)", BATCHES, together, flat),
            Panel("tokens/s, one conversation", "rows of its cache", lengths, alone),
        ],
        f"{LABEL}, {1e3 * LAUNCH_SECONDS:g} ms a launch; dashed: the seed recipe, no launches",
    )


def page(found: Sequence[Measured], lengths: Sequence[int], version: str) -> list[str]:
    return [
        "# The serve recipe at full size",
        "",
        "Made by `python bench/bm1684x/serve.py WORK --plot bench/bm1684x/serve.svg`: a layer of "
        "ChatGLM3-6B with a cache of",
        "512 rows, and lm_head, compiled",
        "with the options of `glmd compile --recipe serve`; g64: groups of 64. What is launched "
        "for a case is compiler/estimate/launches.jsonl.",
        "The host and the embedding count as launches alone, and so do greedy_head and top_head: "
        "the chip's control processor runs a sort,",
        "which the compiler does not time.",
        "",
        f"{date.today():%Y-%m-%d}, tpu_mlir {version}. No number depends on the machine.",
        "",
        "![tokens a second by conversations and by the length of the cache](serve.svg)",
        "",
        f"## Cases ({LABEL})",
        "",
        "`decode N`: all N conversations together, one token each a step. Seed recipe: groups of "
        "64. The pieces of a prompt are those",
        "that are cheapest by the times of int4.",
        *(line for one in found for line in ["", *case_table(one)]),
        "",
        f"## One conversation by the length of the cache "
        f"({LABEL}, {1e3 * LAUNCH_SECONDS:g} ms a launch)",
        "",
        *context_table(found, lengths),
        "",
        f"## A launch ({LABEL})",
        "",
        *net_table(found),
        "",
        "## Bytes of a layer in the file",
        "",
        *size_table(found),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--tpu-mlir", type=Path)
    every = [build_of(word) for word in ("int4", "int4:128", "int8", "f16")]
    parser.add_argument("--modes", nargs="+", type=build_of, default=every)
    parser.add_argument("--contexts", nargs="+", type=int, default=CONTEXTS)
    parser.add_argument("--plot", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    toolchain = find_toolchain(options.tpu_mlir)
    full = FullSize(options.work.absolute(), toolchain)
    found = [measured(full, build, options.contexts) for build in options.modes]
    options.plot.write_text(chart(found, options.contexts))
    print("\n".join(page(found, options.contexts, toolchain.version)))


if __name__ == "__main__":
    main()
