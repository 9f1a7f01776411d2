"""Plans for bmodels: which nets a prompt is computed with, and how many decode at once."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.abilities import SEED, SEED_SECONDS, SERVE, SERVE_SECONDS, Can
from support.sequences import carry_out, decoding, sequence

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.engine.nets import PIECE_STEPS, Nets
from glmd.daemon.engine.pace import SHARED_SECONDS
from glmd.daemon.engine.sequence import Sequence
from glmd.daemon.engine.work import MAX_SCORED
from glmd.daemon.native._engine import Prefill


def seed() -> Nets:
    return Nets(SEED, SEED_SECONDS)


def serve() -> Nets:
    return Nets(SERVE, SERVE_SECONDS)


def covered(nets: Nets, s: Sequence, streams: int = 0) -> list[tuple[int, int]]:
    """(position, tokens) of the pieces of a prompt, until it is computed."""
    rows = [decoding() for _ in range(streams)]
    found = []
    while s.prompt_left:
        own = [[work for work in call if work.sequence is s] for call in nets.plan([s, *rows])]
        found += [(s.computed, work.n) for call in own for work in call]
        carry_out(own)
    return found


def pieces(nets: Nets, s: Sequence, streams: int = 0) -> list[int]:
    return [n for _, n in covered(nets, s, streams)]


def widths(nets: Nets, rows: int) -> list[int]:
    return [len(call) for call in nets.plan([decoding() for _ in range(rows)])]


def test_a_prompt_by_itself_takes_the_nets_that_cost_least() -> None:
    assert pieces(serve(), sequence(64)) == [64]
    assert pieces(serve(), sequence(65)) == [65]
    assert pieces(serve(), sequence(150)) == [128, 22]
    assert pieces(serve(), sequence(512)) == [512]
    assert pieces(serve(), sequence(440, 400)) == [40]


def test_beside_streams_one_token_more_comes_as_a_row() -> None:
    """Their step is run anyway; a longer piece would cost each of them as much as the prompt."""
    assert pieces(serve(), sequence(65), streams=3) == [64, 1]
    assert pieces(serve(), sequence(403, 400), streams=3) == [1, 1, 1]
    assert pieces(serve(), sequence(420, 400), streams=3) == [20]
    # An eighth row is one more in a net that is run anyway, a ninth is a net of its own.
    assert pieces(serve(), sequence(404, 400), streams=7) == [1] * 4
    assert pieces(serve(), sequence(404, 400), streams=8) == [4]


@pytest.mark.parametrize("streams", [1, 4, 8, 20])
@pytest.mark.parametrize("can", [SERVE, replace(SERVE, prefill_lengths=[16, 32, 64, 512])])
def test_beside_streams_a_piece_is_no_longer_than_they_may_wait(can: Can, streams: int) -> None:
    nets = Nets(can, SERVE_SECONDS)
    step = decode_seconds(streams)
    bound = max(SHARED_SECONDS - step, PIECE_STEPS * step)
    took = covered(nets, sequence(1000), streams)
    assert sum(n for _, n in took) == 1000
    for position, n in took:
        if n > 1 and position:
            assert seconds("chunk", can.chunk_lengths, n) <= bound
        elif n > 1:
            assert seconds("prefill", can.prefill_lengths, n) <= bound


def seconds(kind: Kind, lengths: list[int], n: int) -> float:
    return SERVE_SECONDS[kind, min(length for length in lengths if length >= n)]


def decode_seconds(rows: int) -> float:
    return sum(seconds("decode", SERVE.decode_batches, width) for width in widths(serve(), rows))


def test_where_every_piece_is_too_long_the_shortest_is_taken() -> None:
    assert pieces(seed(), sequence(400), streams=2) == [400]


def test_one_piece_a_step_whoever_waits() -> None:
    calls = serve().plan([sequence(300), decoding(), sequence(300), sequence(200, 100)])
    assert [len(call) for call in calls] == [1, 1]
    assert calls[0][0].n == 1
    assert calls[1][0].n > 1


def test_prompts_take_turns() -> None:
    nets, first, second = serve(), sequence(1200), sequence(1200)
    order = []
    for step in range(1, 7):
        calls = nets.plan([first, second])
        order.append(calls[0][0].sequence)
        carry_out(calls, step)
    assert order == [first, second] * 3


def test_rows_are_decoded_in_the_widths_that_cost_least() -> None:
    assert [widths(serve(), k) for k in range(1, 9)] == [[k] for k in range(1, 9)]
    assert sorted(widths(serve(), 20)) == [4, 8, 8]
    assert widths(seed(), 3) == [1, 1, 1]


def test_wide_nets_are_left_where_narrow_ones_are_cheaper() -> None:
    """As where the chip computes for longer than it waits for weights."""
    costly: Estimates = {("decode", n): 0.02 * n + 0.02 for n in SERVE.decode_batches}
    assert sorted(widths(Nets(SERVE, costly), 5)) == [1, 4]
    assert sorted(widths(Nets(SERVE, costly), 7)) == [7]


def test_any_number_of_rows_where_no_widths_are_given() -> None:
    can = Can(Prefill.chunks, [64], [16], [], slots=12)
    assert widths(Nets(can, {}), 12) == [12]


def test_a_width_that_turns_out_slow_is_no_longer_taken() -> None:
    nets = serve()
    eight = nets.plan([decoding() for _ in range(8)])[0]
    for _ in range(5):
        nets.measured(eight, 1.0)
    # What ran at fourteen times its estimate says nothing of the others that ran as expected.
    for n in (1, 2, 4):
        for _ in range(5):
            nets.measured(eight[:n], SERVE_SECONDS["decode", n])
    assert widths(nets, 8) == [4, 4]


def test_a_piece_that_turns_out_slow_is_no_longer_taken() -> None:
    nets = serve()
    for _ in range(5):
        nets.measured(nets.plan([sequence(128)])[0], 5.0)
        nets.measured(nets.plan([decoding()])[0], SERVE_SECONDS["decode", 1])
        for n in (16, 32, 64, 128):
            (call,) = Nets(SERVE, SERVE_SECONDS).plan([sequence(600 + n, 600)])
            nets.measured(call, SERVE_SECONDS["chunk", n])
    assert pieces(nets, sequence(128)) == [64, 64]


def test_seed_prompts_come_whole_and_their_rest_in_steps() -> None:
    assert pieces(seed(), sequence(400)) == [400]
    assert pieces(seed(), sequence(400, 395)) == [1] * 5
    assert pieces(seed(), sequence(515)) == [512, 1, 1, 1]


def test_a_prompt_of_few_tokens_comes_in_steps_where_that_is_quicker() -> None:
    assert pieces(seed(), sequence(5)) == [1] * 5


def test_a_prefix_is_kept_where_that_is_the_cheaper_way() -> None:
    steps = math.floor(SEED_SECONDS["prefill", 512] / SEED_SECONDS["decode", 1])
    assert steps == 11
    assert seed().reusable([], 400, 400 - steps) == 400 - steps
    assert seed().reusable([], 400, 399 - steps) == 0
    assert serve().reusable([], 440, 400) == 400
    assert serve().reusable([], 400, 200) == 200
    # Two tokens that all prompts begin with: 64 behind them take longer than 64 by themselves.
    assert serve().reusable([], 64, 2) == 0
    assert serve().reusable([], 66, 2) == 2


def test_what_is_kept_follows_the_device() -> None:
    nets = seed()
    (whole,) = nets.plan([sequence(400)])
    (step,) = nets.plan([decoding()])
    for _ in range(5):
        nets.measured(whole, 0.35)
        nets.measured(step, 0.1)
    assert nets.reusable([], 400, 397) == 397
    assert nets.reusable([], 400, 396) == 0


def test_tokens_whose_logits_are_wanted_come_one_by_one_where_nets_have_one_answer() -> None:
    ((work,),) = seed().plan([sequence(1000, scored=True)])
    assert work.n == 1


def test_else_their_number_in_a_step_is_bounded() -> None:
    took = pieces(serve(), sequence(200, scored=True))
    assert sum(took) == 200
    assert max(took) == MAX_SCORED
