"""What one step computes, planned from what the backend says it can do.

Every running sequence gets its next token in every step; prompts advance by one chunk a step, so no
stream waits for longer than that. Nothing here depends on which backend it is.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import NamedTuple

from glmd.daemon.engine.sequence import Sequence
from glmd.daemon.native._engine import Capabilities, Prefill

# Where only a prefill from position 0 is fast: how many single steps cost as much as that. On
# BM1684X a prefill takes 0.9-1.4 s and a step 0.07-0.25 s.
STEPS_PER_PREFILL = 8

# Prompt tokens whose logits are wanted, in one step: each takes a row of float32 [vocab].
MAX_SCORED = 32


class Work(NamedTuple):
    """The next `n` known tokens of a sequence."""

    sequence: Sequence
    n: int


Call = list[Work]


def reusable(can: Capabilities, prompt_length: int, shared: int) -> int:
    """How many of `shared` leading tokens in a KV cache to keep for a prompt. The last token is
    always computed: its logits are what the answer starts from."""
    shared = min(shared, prompt_length - 1)
    if can.prefill is Prefill.from_zero and prompt_length - shared > STEPS_PER_PREFILL:
        return 0
    return shared


def plan(can: Capabilities, running: Seq[Sequence], chunk: int) -> list[Call]:
    """The forward calls of one step; `chunk` bounds the prompt tokens in it where the backend
    takes any number."""
    prompts = [s for s in running if s.prefilling and not _one_by_one(can, s)]
    rows = [Work(s, 1) for s in running if not s.prefilling or _one_by_one(can, s)]
    width = can.decode_batches[-1] if can.decode_batches else max(len(rows), 1)
    calls = [rows[i : i + width] for i in range(0, len(rows), width)]
    if not prompts:
        return calls
    if can.prefill is Prefill.any:
        mixed = calls.pop() if calls else []
        return [*calls, mixed + _shares(prompts, chunk)]
    oldest = min(prompts, key=lambda s: s.served)
    return [*calls, [Work(oldest, _fitting(can.prefill_lengths, oldest.prompt_left))]]


def _one_by_one(can: Capabilities, sequence: Sequence) -> bool:
    """Whether the prompt can only advance like a decode: a token a step."""
    if can.prefill is Prefill.any:
        return False
    return sequence.scored or (can.prefill is Prefill.from_zero and sequence.computed > 0)


def _shares(prompts: list[Sequence], budget: int) -> Call:
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


def _fitting(lengths: list[int], left: int) -> int:
    """Tokens for the net that fits best: the shortest that takes all of them, else the longest."""
    return min(left, lengths[-1])
