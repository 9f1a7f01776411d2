"""The scheduler of backends that take any number of tokens at any position.

A step is one call: a token of everybody who streams, and as many of the prompts as fit beside them
(pace).
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

from glmd.daemon.engine.pace import Pace
from glmd.daemon.engine.sequence import Sequence
from glmd.daemon.engine.work import MAX_SCORED, Call, Work


class Mixed:
    def __init__(self) -> None:
        self._pace = Pace()

    def plan(self, running: Seq[Sequence]) -> list[Call]:
        rows = [Work(s, 1) for s in running if not s.prefilling]
        prompts = [s for s in running if s.prefilling]
        call = rows + shares(prompts, self._pace.chunk(shared=bool(rows)))
        return [call] if call else []

    def reusable(self, running: Seq[Sequence], prompt_length: int, shared: int) -> int:
        return min(shared, prompt_length - 1)

    def measured(self, call: Call, seconds: float) -> None:
        self._pace.measured(sum(work.n for work in call if work.sequence.prefilling), seconds)


def shares(prompts: list[Sequence], budget: int) -> Call:
    """Max-min fair shares of the budget, so that a short prompt is not held up by a long one."""
    call = []
    for i, sequence in enumerate(sorted(prompts, key=_wish)):
        n = min(_wish(sequence), budget // (len(prompts) - i))
        if n:
            call.append(Work(sequence, n))
        budget -= n
    return call


def _wish(sequence: Sequence) -> int:
    return min(sequence.prompt_left, MAX_SCORED) if sequence.scored else sequence.prompt_left
