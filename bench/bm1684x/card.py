"""What a bmodel takes on a card, beside what the compiler expects of it: a table in Markdown.

    .venv/bin/python bench/bm1684x/card.py MODEL --devid 0 > card.md
    .venv/bin/python bench/bm1684x/card.py MODEL --simulate          # without a card, to try it

MODEL: the folder that `glmd compile` made, or the bmodel in it. Any recipe's is measured, and the
vendor's too; the compiler's times are in the manifest beside it. Nothing else may use the chip
meanwhile. What libbmrt and the simulator print goes to standard error.

A step is timed from the call of the backend to its answer, a greedy token: uploads, launches, the
chip, the download. Prompts are cut into the pieces that the daemon would cut them into.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

import glmd
from glmd.bmodel.estimates import Kind, read_estimates
from glmd.bmodel.features import read_features
from glmd.bmodel.reader import read_bmodel
from glmd.checkpoint.source import MANIFEST, located
from glmd.compiler.manifest import Manifest
from glmd.control import all_running
from glmd.daemon.engine.chips import chip_facts
from glmd.daemon.engine.cover import cheapest
from glmd.daemon.engine.step_model import StepModel
from glmd.daemon.native import _engine as native
from glmd.daemon.sophon import simulator_folder
from glmd.errors import GlmdError

FIRST_TOKENS = (16, 64, 150, 512)
TURNS = ((40, 100), (40, 400))  # new tokens, and those that are there
BEGUN = 8  # tokens of a conversation that goes on

COLUMNS = (
    "launches",
    "measured, ms",
    "fastest to slowest",
    "compiler estimate, ms",
    "above it, µs a launch",
    "tokens/s",
)


@dataclass(frozen=True)
class Timed:
    """Runs of one piece of work. `estimate`: seconds without launches, None where nothing is known.
    `streams`: conversations that each run gives a token, 0 where it is about a prompt."""

    name: str
    seconds: list[float]
    launches: int
    estimate: float | None
    streams: int = 0

    @property
    def cells(self) -> list[str]:
        typical = median(self.seconds)
        spread = f"{1e3 * min(self.seconds):.1f} to {1e3 * max(self.seconds):.1f}"
        expected, above = "", ""
        if self.estimate is not None:
            expected = f"{1e3 * self.estimate:.1f}"
            above = f"{1e6 * (typical - self.estimate) / self.launches:.0f}"
        speed = f"{self.streams / typical:.1f}" if self.streams else ""
        measured = f"{1e3 * typical:.1f}"
        return [self.name, str(self.launches), measured, spread, expected, above, speed]


class Card:
    """A loaded bmodel. A slot that holds n tokens holds the first n of the same ones as all."""

    def __init__(
        self, model: Path, manifest: Manifest | None, backend: native.Bm1684xBackend, runs: int
    ) -> None:
        self._backend, self._runs = backend, runs
        self._can = backend.capabilities
        self._most = backend.info.max_seq
        random = np.random.default_rng(0)
        self._ids = random.integers(0, backend.info.vocab, self._most, dtype=np.int32)
        outputs = self._can.outputs
        self._answer = native.Want.token if native.Want.token in outputs else native.Want.logits
        nets = manifest.nets if manifest else []
        self._known = {(net.name, net.rows): net.seconds or 0.0 for net in nets}
        # As the daemon's: at first what the manifest says, then what was measured.
        lengths: dict[Kind, list[int]] = {
            "prefill": self._can.prefill_lengths,
            "chunk": self._can.chunk_lengths,
            "decode": self._can.decode_batches,
        }
        self._model = StepModel(lengths, read_estimates(model))

    def steps(self) -> Iterator[Timed]:
        """A step by each of the layers' nets."""
        for n in self._can.prefill_lengths:
            timed = self._timed("", partial(self._hold, 0), partial(self._piece, 0, n))
            self._learn("prefill", n, timed)
            if timed.name.startswith("prefill"):  # where there is none of a length, it is a chunk
                yield timed
        for n in self._can.chunk_lengths:
            if BEGUN + n <= self._most:
                timed = self._timed("", partial(self._hold, BEGUN), partial(self._piece, BEGUN, n))
                self._learn("chunk", n, timed)
                yield timed
        for n in self._can.decode_batches:
            hold = partial(self._hold, BEGUN, n)
            timed = self._timed("", hold, partial(self._decode, n), n)
            self._learn("decode", n, timed)
            yield timed

    def prompts(self) -> Iterator[Timed]:
        """What users wait for; behind `steps`, from which it is known how to cut prompts."""
        for n in FIRST_TOKENS:
            if n <= self._most:
                prompt = partial(self._prompt, 0, n)
                yield self._timed(f"first token, {n}", partial(self._hold, 0), prompt)
        for n, there in TURNS:
            if there + n <= self._most:
                kept = there if self._cover(there, n)[0] <= self._cover(0, there + n)[0] else 0
                turn = partial(self._prompt, kept, there + n)
                yield self._timed(f"next turn, {n} on {there}", partial(self._hold, kept), turn)

    def _timed(
        self, name: str, prepare: Callable[[], None], act: Callable[[], None], streams: int = 0
    ) -> Timed:
        """Without a name it has that of the step."""
        seconds = []
        for _ in range(1 + self._runs):
            prepare()
            self._backend.take_trace()
            start = time.perf_counter()
            act()
            seconds.append(time.perf_counter() - start)
        steps = self._backend.take_trace()
        launches = [launch for _, launched in steps for launch in launched]
        known = [self._known.get(launch) for launch in launches]
        estimate = None if None in known else sum(seconds for seconds in known if seconds)
        # The first run is left out: it is slower where something is made at the first use.
        return Timed(name or steps[0][0], seconds[1:], len(launches), estimate, streams)

    def _learn(self, kind: Kind, n: int, timed: Timed) -> None:
        for seconds in timed.seconds:
            self._model.measured(kind, n, seconds)

    def _hold(self, n: int, slots: int = 1) -> None:
        """Let the first slots hold n tokens."""
        for slot in range(slots):
            if self._backend.length(slot) < n:
                self._backend.truncate(slot, 0)
                self._prompt(0, n, slot)
            self._backend.truncate(slot, n)

    def _cover(self, start: int, n: int) -> tuple[float, int]:
        """What n tokens behind `start` others take, and how many of them come first."""
        chunks, single = self._model.costs("chunk"), self._model.costs("decode")[0][1]
        return cheapest(chunks if start else self._model.costs("prefill"), chunks, single, n)

    def _prompt(self, start: int, end: int, slot: int = 0) -> None:
        while start < end:
            n = self._cover(start, end - start)[1]
            self._piece(start, n, slot, native.Want.none if start + n < end else self._answer)
            start += n

    def _piece(self, start: int, n: int, slot: int = 0, want: native.Want | None = None) -> None:
        self._forward(
            [native.Span(slot, start, self._ids[start : start + n], want or self._answer)]
        )

    def _decode(self, streams: int) -> None:
        new = self._ids[BEGUN : BEGUN + 1]
        self._forward([native.Span(slot, BEGUN, new, self._answer) for slot in range(streams)])

    def _forward(self, spans: list[native.Span]) -> None:
        self._backend.forward(spans, native.CancelFlag())


def table(first: str, rows: list[Timed]) -> str:
    lines = [" | ".join((first, *COLUMNS)), "|".join(["---", *["--:"] * len(COLUMNS)])]
    lines += [" | ".join(timed.cells) for timed in rows]
    return "\n".join(f"| {line} |" if line[0] != "-" else f"|{line}|" for line in lines)


def read_manifest(model: Path) -> Manifest | None:
    try:
        return msgspec.json.decode((model.parent / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def facts(
    model: Path, manifest: Manifest | None, backend: native.Bm1684xBackend, on_card: bool, runs: int
) -> Iterator[str]:
    if manifest:
        stored = manifest.quantisation["layers"]
        yield f"{model.name}: recipe {manifest.recipe}, {stored}, by {manifest.toolchain}"
    else:
        yield f"{model.name}: without a manifest, so that nothing is expected"
    info = backend.info
    yield f"{info.layers} layers, hidden {info.hidden}, {info.max_seq} tokens"
    yield f"glmd {glmd.__version__}, {date.today()}, {runs} runs of each, the median counts"
    yield f"host: {processor()}, {os.cpu_count()} processors, Linux {platform.release()}"
    for chip in map(chip_facts, backend.stats()):
        yield "chip: " + ", ".join(f"{name} {value:g}" for name, value in chip.items())
    if on_card:
        yield "board, and the versions of driver and firmware (`bm-smi` shows them): …"


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("model", type=Path)
    where = arguments.add_mutually_exclusive_group(required=True)
    where.add_argument("--devid", default="", help="the chip, or chips: 0 or 0,1")
    where.add_argument("--simulate", action="store_true")
    arguments.add_argument("--libsophon", type=Path)
    arguments.add_argument("--runs", type=int, default=9)
    asked = arguments.parse_args()
    try:
        measure(asked)
    except (GlmdError, native.EngineError) as error:
        sys.exit(f"{error}\n{getattr(error, 'hint', '')}".strip())


def measure(asked: argparse.Namespace) -> None:
    devices = [int(number) for number in asked.devid.split(",")] if asked.devid else [0]
    for daemon in all_running():
        if not asked.simulate and set(daemon.devices) & set(devices):
            sys.exit(f"The daemon {daemon.name} has the chip: glmd stop --name {daemon.name}")
    model = located(asked.model)
    bmodel = read_bmodel(model)
    features, manifest = read_features(bmodel), read_manifest(model)
    folder = simulator_folder(asked.libsophon) if asked.simulate else asked.libsophon or ""
    # libbmrt and the simulator print to standard output, which is to hold the table alone.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with closing(out):
        backend = native.Bm1684xBackend(
            str(model),
            devices=devices,
            slots=max(features.decodes),
            vocab=features.vocab or 0,
            device_bytes=max(bmodel.memory(device).total for device in range(bmodel.devices)),
            libsophon=str(folder),
            simulate=asked.simulate,
            trace=True,
        )
        card = Card(model, manifest, backend, asked.runs)
        steps, prompts = list(card.steps()), list(card.prompts())
        told = list(facts(model, manifest, backend, bool(asked.devid), asked.runs))
        del card, backend  # before the process ends: what a chip holds is given back
        where = f"chip {asked.devid}" if asked.devid else "the simulator"
        print(f"# {model.stem} on {where}\n", file=out)
        if asked.simulate:
            print("**Simulator**: these times are this computer's, not a chip's.\n", file=out)
        print("\n".join(f"- {fact}" for fact in told), end="\n\n", file=out)
        print(table("a step", steps), end="\n\n", file=out)
        print(table("a prompt, up to its answer's first token", prompts), file=out)


if __name__ == "__main__":
    main()
