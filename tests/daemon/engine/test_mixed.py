"""Plans for a backend that takes any number of tokens anywhere, as the CPU does."""

from __future__ import annotations

from support.sequences import carry_out, decoding, fed, sequence

from glmd.daemon.engine.mixed import Mixed, shares
from glmd.daemon.engine.pace import FIRST_CHUNK
from glmd.daemon.engine.work import MAX_SCORED


def test_no_stream_waits_longer_than_one_chunk() -> None:
    row, long = decoding(), sequence(1000)
    steps = 0
    while long.prefilling:
        calls = Mixed().plan([long, row])
        assert fed(calls, row) == 1
        assert fed(calls, long) <= FIRST_CHUNK
        carry_out([[w for w in call if w.sequence is long] for call in calls])
        steps += 1
    assert steps == 32


def test_the_chunk_follows_what_was_measured() -> None:
    mixed, row, long = Mixed(), decoding(), sequence(1000)
    (call,) = mixed.plan([row, long])
    for _ in range(20):
        mixed.measured(call, 0.01)
    assert fed(mixed.plan([row, long]), long) > 2 * FIRST_CHUNK


def test_chunk_and_rows_share_one_forward() -> None:
    assert len(Mixed().plan([*(decoding() for _ in range(5)), sequence(1000)])) == 1


def test_the_last_piece_of_a_prompt_is_what_is_left() -> None:
    assert Mixed().plan([sequence(300, 280)])[0][0].n == 20


def test_a_short_prompt_is_not_held_up_by_long_ones() -> None:
    short, long, longer = sequence(10), sequence(1000), sequence(2000)
    call = shares([longer, long, short], 64)
    assert fed([call], short) == 10
    assert fed([call], long) == fed([call], longer) == 27


def test_more_prompts_than_the_chunk_has_tokens() -> None:
    assert sum(work.n for work in shares([sequence(100) for _ in range(20)], 16)) == 16


def test_whatever_is_known_is_kept() -> None:
    assert Mixed().reusable([], 400, 10) == 10


def test_prompt_logits_are_bounded_in_a_step() -> None:
    scored = sequence(1000, scored=True)
    assert fed([shares([scored], 512)], scored) == MAX_SCORED
