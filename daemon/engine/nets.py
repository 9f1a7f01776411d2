"""The scheduler of backends whose nets have fixed lengths.

A step is one decode of all who stream, in as few seconds as the batch widths allow, and then one
piece of one prompt. Pieces and widths are chosen by what each net takes (step_model).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence as Seq

import numpy as np
from numpy.typing import NDArray

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.engine.cover import Costs, Way, cheapest, cheapest_behind
from glmd.daemon.engine.pace import SHARED_SECONDS
from glmd.daemon.engine.sequence import Sequence
from glmd.daemon.engine.step_model import StepModel
from glmd.daemon.engine.work import MAX_SCORED, NO_GUESS, Call, Work
from glmd.daemon.native._engine import Capabilities, Prefill, Want

# While others stream, a piece may take as long as so many of their steps, or what is left of
# SHARED_SECONDS if that is more. A piece is a launch of its own and reads all weights, so it never
# takes less than one.
PIECE_STEPS = 2


class Nets:
    """`estimates`: seconds of whole steps, of as many nets as are known."""

    def __init__(self, can: Capabilities, estimates: Estimates) -> None:
        # Each is a span of its own. What only prefills from position 0 takes one in a call.
        self._most_scored = MAX_SCORED if can.prefill is Prefill.chunks else 1
        self._model = StepModel(
            {
                "prefill": can.prefill_lengths,
                "chunk": can.chunk_lengths,
                "decode": can.decode_batches or [can.slots],
            },
            estimates,
        )

    def plan(self, running: Seq[Sequence]) -> list[Call]:
        streams = sum(not s.prefilling for s in running)
        pieces = {s: self._piece(s, streams) for s in running if s.prefilling}
        rows = [s for s in running if pieces.get(s, 1) == 1]
        calls = [[Work(s, 1) for s in batch] for batch in self._batches(rows)]
        if len(rows) == 1:
            calls = [[Work(rows[0], 1, self._guess(rows[0]))]]
        prompts = [s for s, n in pieces.items() if n > 1]
        if prompts:
            oldest = min(prompts, key=lambda s: s.served)
            calls.append([Work(oldest, pieces[oldest])])
        return calls

    def reusable(self, running: Seq[Sequence], prompt_length: int, shared: int) -> int:
        shared = min(shared, prompt_length - 1)
        streams = sum(not s.prefilling for s in running)
        behind, _ = self._cover(shared, prompt_length - shared, streams)
        whole, _ = self._cover(0, prompt_length, streams)
        return shared if behind <= whole else 0

    def measured(self, call: Call, seconds: float) -> None:
        sequence, n, guess = call[0]
        n += len(guess)
        if n == 1:
            self._model.measured("decode", len(call), seconds)
        else:
            kind: Kind = "chunk" if sequence.computed else "prefill"
            self._model.measured(kind, n, seconds)

    def _piece(self, sequence: Sequence, streams: int) -> int:
        """Tokens of its prompt to compute next; 1: as a row among those that decode."""
        _, n = self._cover(sequence.computed, sequence.prompt_left, streams)
        return min(n, self._most_scored) if sequence.scored else n

    def _guess(self, sequence: Sequence) -> NDArray[np.int32]:
        """Tokens to compute in a chunk with the only one that decodes, where that is likely to
        take less than a step for each: no more than the heads answer at once."""
        chunks, steps = self._model.costs("chunk"), self._model.costs("decode")
        alone = sequence.length == sequence.computed + 1 and not sequence.complete
        asked = sequence.chain.want in {Want.token, Want.logits}
        if not chunks or not sequence.computed or not alone or not asked or sequence.scored:
            return NO_GUESS
        room = len(sequence.history) - sequence.length - 1
        most = min(chunks[0][0] - 1, steps[-1][0] - 1, room)
        needed = chunks[0][1] / steps[0][1] - 1
        return sequence.lookup.guess(sequence.history[: sequence.length], most, needed)

    def _cover(self, computed: int, left: int, streams: int) -> Way:
        """What `left` tokens of a prompt cost behind `computed` others, and how many to compute
        first. The cost is the time that all wait for it together: the prompt for each piece and
        for the steps of the streams between them, and every stream for each piece."""
        step, wider = self._decode(streams), self._decode(streams + 1)
        single = wider + streams * (wider - step)
        later = self._pieces("chunk", streams, step)
        if computed:
            return cheapest_behind(later, single, left)
        return cheapest(self._pieces("prefill", streams, step), later, single, left)

    def _pieces(self, kind: Kind, streams: int, step: float) -> Costs:
        """The nets that may be used and their costs. While others stream, only those that keep
        them waiting no longer than they may; the shortest, where all do."""
        costs = self._model.costs(kind)
        most = max(SHARED_SECONDS - step, PIECE_STEPS * step) if streams else math.inf
        fitting = [cost for cost in costs if cost[1] <= most] or costs[:1]
        return tuple((n, step + (1 + streams) * seconds) for n, seconds in fitting)

    def _decode(self, rows: int) -> float:
        return cheapest_behind(self._model.costs("decode"), math.inf, rows)[0]

    def _batches(self, rows: list[Sequence]) -> Iterator[list[Sequence]]:
        start = 0
        while start < len(rows):
            _, n = cheapest_behind(self._model.costs("decode"), math.inf, len(rows) - start)
            yield rows[start : start + n]
            start += n
