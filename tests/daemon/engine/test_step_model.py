"""What steps cost: from estimates, from the clock, from neither."""

from __future__ import annotations

import random

import pytest

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.engine.step_model import (
    DEFAULT_STEP,
    ENOUGH,
    SAMPLES,
    StepModel,
)

KINDS: tuple[Kind, ...] = ("prefill", "chunk", "decode")
LENGTHS: dict[Kind, list[int]] = {
    "prefill": [64, 128],
    "chunk": [16, 32, 64],
    "decode": [1, 2, 4, 8],
}
ESTIMATES: Estimates = {
    ("prefill", 64): 0.08,
    ("prefill", 128): 0.13,
    ("chunk", 16): 0.071,
    ("chunk", 32): 0.072,
    ("chunk", 64): 0.08,
    ("decode", 1): 0.062,
    ("decode", 2): 0.064,
    ("decode", 4): 0.067,
    ("decode", 8): 0.072,
}


def all_costs(model: StepModel) -> dict[tuple[Kind, int], float]:
    return {(kind, n): seconds for kind in KINDS for n, seconds in model.costs(kind)}


def run(model: StepModel, kind: Kind, n: int, *seconds: float) -> None:
    for one in seconds:
        model.measured(kind, n, one)


def test_estimates_are_believed_until_something_ran() -> None:
    assert all_costs(StepModel(LENGTHS, ESTIMATES)) == ESTIMATES


def test_without_estimates_a_step_is_the_measure_of_all() -> None:
    costs = all_costs(StepModel({"prefill": [512], "chunk": [], "decode": [1]}, {}))
    assert costs["decode", 1] == pytest.approx(DEFAULT_STEP, rel=0.02)
    # On BM1684X 512 positions take eight to twelve steps.
    assert costs["prefill", 512] == pytest.approx(8 * DEFAULT_STEP)


def test_a_part_of_the_estimates_sets_the_scale_of_the_rest() -> None:
    whole = all_costs(StepModel(LENGTHS, {}))
    for net in ESTIMATES:
        costs = all_costs(StepModel(LENGTHS, {net: 5 * whole[net]}))
        assert costs == pytest.approx({other: 5 * seconds for other, seconds in whole.items()})


def test_what_was_measured_replaces_what_was_expected() -> None:
    model = StepModel(LENGTHS, ESTIMATES)
    run(model, "decode", 3, *[0.2] * ENOUGH)
    assert dict(model.costs("decode"))[4] == 0.2


def test_a_slower_device_is_slower_in_everything_that_has_not_run() -> None:
    model = StepModel(LENGTHS, ESTIMATES)
    run(model, "decode", 1, *[0.62] * ENOUGH)
    expected = {net: 10 * seconds for net, seconds in ESTIMATES.items()}
    assert all_costs(model) == pytest.approx(expected)


@pytest.mark.parametrize("before", range(ENOUGH - 1, 30))
def test_a_step_that_was_held_up_changes_nothing(before: int) -> None:
    model = StepModel(LENGTHS, ESTIMATES)
    run(model, "chunk", 16, *[0.071] * before, 7.0)
    assert all_costs(model) == pytest.approx(ESTIMATES)


def test_a_lasting_change_is_learned() -> None:
    model = StepModel(LENGTHS, ESTIMATES)
    run(model, "decode", 8, *[0.072] * 100, *[0.1] * SAMPLES)
    assert dict(model.costs("decode"))[8] == 0.1


def test_the_noise_of_a_clock_changes_no_cost() -> None:
    model, rng = StepModel(LENGTHS, ESTIMATES), random.Random(1)
    run(model, "decode", 1, *[0.062] * SAMPLES)
    before = all_costs(model)
    for _ in range(200):
        run(model, "decode", 1, 0.062 * rng.uniform(0.96, 1.04))
        assert all_costs(model) == before


def test_costs_rise_with_the_length_whatever_was_measured() -> None:
    rng = random.Random(1)
    model = StepModel(LENGTHS, ESTIMATES)
    for _ in range(500):
        kind = rng.choice(KINDS)
        run(model, kind, rng.choice(LENGTHS[kind]), rng.uniform(0.01, 1.0))
        for some in KINDS:
            seconds = [cost for _, cost in model.costs(some)]
            assert seconds == sorted(seconds)


def test_a_longer_net_that_is_quicker_bounds_the_shorter_ones() -> None:
    model = StepModel(LENGTHS, ESTIMATES)
    run(model, "chunk", 64, *[0.05] * ENOUGH)
    run(model, "chunk", 16, *[0.06] * ENOUGH)
    assert model.costs("chunk") == ((16, 0.05), (32, 0.05), (64, 0.05))


def test_more_tokens_than_any_net_takes_teach_nothing() -> None:
    model = StepModel(LENGTHS, ESTIMATES)
    run(model, "chunk", 65, *[9.0] * ENOUGH)
    assert all_costs(model) == ESTIMATES


def test_a_beginning_without_a_net_of_its_own_costs_what_a_chunk_does() -> None:
    model = StepModel({**LENGTHS, "prefill": [16, 64, 128]}, ESTIMATES)
    assert model.costs("prefill") == ((16, 0.071), (64, 0.08), (128, 0.13))
