"""Chunks follow the machine: what a step costs is made up here, the chunk has to find it out."""

from __future__ import annotations

import random

import pytest

from glmd.daemon.engine.pace import (
    ALONE_SECONDS,
    MAX_CHUNK,
    MIN_ALONE_CHUNK,
    MIN_SHARED_CHUNK,
    SHARED_SECONDS,
    Pace,
)


def settle(step: float, token: float, *, shared: bool, noise: float = 0.0) -> int:
    """The chunk after fifty steps on a machine where a bare step takes `step` seconds and each
    prompt token adds `token`."""
    pace, rng = Pace(), random.Random(1)
    for _ in range(50):
        n = pace.chunk(shared=shared)
        if shared:
            pace.measured(0, step * (1 + noise * rng.random()))
        pace.measured(n, (step + n * token) * (1 + noise * rng.random()))
    return pace.chunk(shared=shared)


def test_a_step_beside_others_takes_as_long_as_it_may() -> None:
    n = settle(0.02, 0.002, shared=True)
    assert 0.02 + n * 0.002 == pytest.approx(SHARED_SECONDS, rel=0.1)


def test_alone_it_may_take_longer() -> None:
    n = settle(0.0, 0.002, shared=False)
    assert n * 0.002 == pytest.approx(ALONE_SECONDS, rel=0.1)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_where_bare_steps_are_slow_a_chunk_doubles_them_at_most(noise: float) -> None:
    """Were the chunk cut for the target alone, it would be nothing, and the prompt would take for
    ever: the weights are read once a step, however few tokens are in it."""
    n = settle(1.0, 0.01, shared=True, noise=noise)
    assert 0.5 < n * 0.01 < 1.6


def test_a_fast_machine_takes_the_largest_chunk() -> None:
    assert settle(0.0001, 0.00001, shared=True) == MAX_CHUNK


def test_the_slowest_machine_still_gets_on() -> None:
    assert settle(0.1, 5.0, shared=True) == MIN_SHARED_CHUNK
    assert settle(0.1, 5.0, shared=False) == MIN_ALONE_CHUNK
