"""Records what the backend launches for the cases that estimates are made of.

    python bench/bm1684x/launches.py MODEL.bmodel WORK > compiler/estimate/launches.jsonl

MODEL: a small model of the serve recipe with a cache of 512 rows; it runs on the installed
toolchain's simulator. WORK: that of serve.py, from whose times the pieces of a prompt are chosen
as the scheduler chooses them. The simulator's own words go to where standard error goes.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np

from glmd.compiler.deploy import PROFILE
from glmd.compiler.estimate.profile import read_profile
from glmd.daemon.engine.cover import Costs, cheapest
from glmd.daemon.native import _engine as native
from glmd.daemon.sophon import simulator_folder

FIRST_TOKENS = (16, 64, 150, 512)
TURN, BEHIND = 40, 400
BATCHES = (1, 2, 4, 8)
GREEDY = native.Want.token


def costs(work: Path, kind: str, lengths: list[int]) -> Costs:
    found = []
    for length in sorted(lengths):
        profile = read_profile(work / "int4_64_512" / f"{kind}_0.{length}" / PROFILE)
        if profile:
            found.append((length, profile.seconds))
    return tuple(found)


class Recorder:
    def __init__(self, backend: native.Bm1684xBackend, work: Path) -> None:
        self._backend = backend
        can = backend.capabilities
        self._chunks = costs(work, "chunk", can.chunk_lengths)
        of_prefill = [
            n for n in can.prefill_lengths if (work / f"int4_64_512/prefill_0.{n}").exists()
        ]
        self._first = costs(work, "prefill", of_prefill)
        self.lines: list[str] = []

    def prompt(self, case: str | None, n: int, at: int = 0) -> None:
        """`n` tokens for slot 0 behind `at`; without a case they are not recorded."""
        slot, position, left = 0, at, n
        while left:
            # A short beginning may be cheaper as a chunk.
            first = self._chunks if position else tuple(sorted((*self._first, *self._chunks)))
            piece = cheapest(first, self._chunks, math.inf, left)[1]
            want = native.Want.none if piece < left else GREEDY
            self._forward([self._span(slot, position, piece, want)], case)
            position, left = position + piece, left - piece

    def decode(self, case: str, batch: int) -> None:
        for slot in range(batch):
            self._forward([self._span(slot, 0, 8 + slot, GREEDY)], None)
        spans = [self._span(slot, 8 + slot, 1, GREEDY) for slot in range(batch)]
        self._forward(spans, case)
        self.forget(batch)

    def forget(self, slots: int = 1) -> None:
        for slot in range(slots):
            self._backend.truncate(slot, 0)

    def _span(self, slot: int, position: int, n: int, want: native.Want) -> native.Span:
        head = native.HeadSettings(1.0, 1.0, 1.0, np.zeros(1, np.int32))
        return native.Span(slot, position, np.full(n, 5, np.int32), want, head)

    def _forward(self, spans: list[native.Span], case: str | None) -> None:
        self._backend.forward(spans, native.CancelFlag())
        for step, launches in self._backend.take_trace():
            if case is not None:
                line = {"case": case, "step": step, "launches": launches}
                self.lines.append(json.dumps(line))


def main() -> None:
    # The simulator prints to standard output, which is the file that is made here.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    backend = native.Bm1684xBackend(
        sys.argv[1],
        devices=[0],
        slots=max(BATCHES),
        libsophon=str(simulator_folder(None)),
        simulate=True,
        trace=True,
    )
    recorder = Recorder(backend, Path(sys.argv[2]))
    for n in FIRST_TOKENS:
        recorder.prompt(f"first token, {n}", n)
        recorder.forget()
    recorder.prompt(None, BEHIND)
    recorder.prompt(f"next turn, {TURN} on {BEHIND}", TURN, BEHIND)
    recorder.forget()
    for batch in BATCHES:
        recorder.decode(f"decode {batch}", batch)
    print("\n".join(recorder.lines), file=out)
    out.close()
    del recorder, backend


if __name__ == "__main__":
    main()
