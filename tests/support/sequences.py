"""Sequences for schedulers to plan, without a model."""

from __future__ import annotations

from collections.abc import Iterable

from support.engine import prompt, submit

from glmd.daemon.engine.sampling import Chain
from glmd.daemon.engine.sequence import Request, Sequence
from glmd.daemon.engine.slots import Slot
from glmd.daemon.engine.work import Call
from glmd.daemon.native._engine import Want


def sequence(length: int, computed: int = 0, *, forced: int = 0, scored: bool = False) -> Sequence:
    request = Request(submit(1, prompt(length), 100, prompt_logprobs=scored))
    chain = Chain(request.submit, 0, vocab=320, outputs=[Want.logits])
    made = Sequence(request, 0, prompt(forced, seed=1), chain, context=4096)
    made.slot = Slot(0, made.history, computed, busy=True)
    made.scored = scored
    return made


def decoding() -> Sequence:
    """A sequence in the middle of its answer: one token is known and not computed."""
    return sequence(10, 12, forced=3)


def carry_out(calls: Iterable[Call], step: int = 0) -> None:
    for call in calls:
        for work in call:
            assert work.sequence.slot is not None
            work.sequence.slot.length += work.n
            work.sequence.served = step


def fed(calls: list[Call], s: Sequence) -> int:
    """Tokens of a sequence in a plan."""
    return sum(work.n for call in calls for work in call if work.sequence is s)
