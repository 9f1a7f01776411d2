"""Plans from capabilities alone: every backend's abilities, written down as values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from support.engine import prompt, submit

from glmd.daemon.engine.sampling import Chain
from glmd.daemon.engine.scheduler import (
    MAX_SCORED,
    STEPS_PER_PREFILL,
    Call,
    plan,
    reusable,
)
from glmd.daemon.engine.sequence import Request, Sequence
from glmd.daemon.engine.slots import Slot
from glmd.daemon.native._engine import Prefill, Want


@dataclass
class Can:
    """The fields of Capabilities that planning reads."""

    prefill: Prefill = Prefill.any
    prefill_lengths: list[int] = field(default_factory=list)
    decode_batches: list[int] = field(default_factory=list)
    chunk_lengths: list[int] = field(default_factory=list)


CPU = Can()
# A bmodel with one prefill net that starts at 0, and a decode net for one sequence.
CLASSIC = Can(Prefill.from_zero, [512], [1])
# A bmodel with prefill behind a prefix in two lengths, and decode nets for 1 and 4.
CHUNKED = Can(Prefill.chunks, [32, 128], [1, 4])

EVERY = pytest.mark.parametrize("can", [CPU, CLASSIC, CHUNKED], ids=["any", "from_zero", "chunks"])


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
        for s, n in call:
            assert s.slot is not None
            s.slot.length += n
            s.served = step


def fed(calls: list[Call], s: Sequence) -> int:
    return sum(n for call in calls for t, n in call if t is s)


@EVERY
def test_every_running_sequence_decodes_in_every_step(can: Can) -> None:
    rows = [decoding() for _ in range(9)]
    prompts = [sequence(300), sequence(40)]
    calls = plan(can, [*rows, *prompts], chunk=64)
    assert [fed(calls, s) for s in rows] == [1] * 9


@EVERY
def test_a_prompt_is_computed_completely_and_once(can: Can) -> None:
    s = sequence(300)
    for step in range(300):
        calls = plan(can, [s], chunk=64)
        assert fed(calls, s) > 0
        carry_out(calls, step)
        if not s.prefilling:
            break
    assert s.computed in {299, 300}


@EVERY
def test_nothing_runs_means_nothing_is_planned(can: Can) -> None:
    assert plan(can, [], chunk=64) == []


def test_no_stream_waits_longer_than_one_chunk() -> None:
    row, long = decoding(), sequence(1000)
    steps = 0
    while long.prefilling:
        calls = plan(CPU, [long, row], chunk=64)
        assert fed(calls, row) == 1
        assert fed(calls, long) <= 64
        carry_out([[w for w in call if w.sequence is long] for call in calls])
        steps += 1
    assert steps == 16


def test_chunk_and_rows_share_one_forward_where_the_backend_can() -> None:
    rows, long = [decoding() for _ in range(5)], sequence(1000)
    assert len(plan(CPU, [*rows, long], chunk=64)) == 1


def test_one_prefill_call_a_step_where_it_cannot() -> None:
    rows = [decoding() for _ in range(5)]
    calls = plan(CHUNKED, [*rows, sequence(1000), sequence(1000)], chunk=64)
    assert [len(call) for call in calls] == [4, 1, 1]
    assert calls[-1][0].n == 128


def test_prompts_that_cannot_share_a_call_take_turns() -> None:
    first, second = sequence(400), sequence(400)
    order = []
    for step in range(1, 7):
        calls = plan(CHUNKED, [first, second], chunk=64)
        order.append(calls[0][0].sequence)
        carry_out(calls, step)
    assert order == [first, second] * 3


def test_the_last_piece_of_a_prompt_is_what_is_left() -> None:
    assert plan(CHUNKED, [sequence(300, 280)], chunk=64)[0][0].n == 20
    assert plan(CPU, [sequence(300, 280)], chunk=64)[0][0].n == 20


def test_a_short_prompt_is_not_held_up_by_long_ones() -> None:
    short, long, longer = sequence(10), sequence(1000), sequence(2000)
    calls = plan(CPU, [longer, long, short], chunk=64)
    assert fed(calls, short) == 10
    assert fed(calls, long) == fed(calls, longer) == 27


def test_more_prompts_than_the_chunk_has_tokens() -> None:
    prompts = [sequence(100) for _ in range(20)]
    calls = plan(CPU, prompts, chunk=16)
    assert sum(fed(calls, s) for s in prompts) == 16


def test_forced_tokens_go_through_decode_one_by_one() -> None:
    replayed = sequence(10, 10, forced=5)
    for _ in range(5):
        calls = plan(CPU, [replayed], chunk=64)
        assert fed(calls, replayed) == 1
        carry_out(calls)
    assert replayed.computed == replayed.length


def test_from_zero_takes_the_prompt_whole_and_single_steps_behind_a_prefix() -> None:
    assert plan(CLASSIC, [sequence(400)], chunk=64)[0][0].n == 400
    assert plan(CLASSIC, [sequence(400, 395)], chunk=64)[0][0].n == 1
    assert plan(CLASSIC, [sequence(600)], chunk=64)[0][0].n == 512


def test_a_prefix_is_kept_where_that_is_the_cheaper_way() -> None:
    assert reusable(CPU, 400, 10) == 10
    assert reusable(CHUNKED, 400, 10) == 10
    assert reusable(CLASSIC, 400, 10) == 0
    assert reusable(CLASSIC, 400, 400 - STEPS_PER_PREFILL) == 400 - STEPS_PER_PREFILL


@EVERY
def test_the_last_prompt_token_is_always_computed(can: Can) -> None:
    assert reusable(can, 20, 20) == 19
    assert reusable(can, 20, 500) == 19
    assert reusable(can, 1, 1) == 0


def test_prompt_logits_are_bounded_in_a_step() -> None:
    scored = sequence(1000, scored=True)
    assert fed(plan(CPU, [scored], chunk=512), scored) == MAX_SCORED
    for can in (CLASSIC, CHUNKED):
        assert fed(plan(can, [scored], chunk=512), scored) == 1
