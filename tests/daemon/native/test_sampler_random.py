"""Random numbers are a function of seed, choice, token index and stage, and of nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import sampler_reference as reference

from glmd import philox
from glmd.daemon.native._engine import SamplerChain, draw
from glmd.sampler import SamplerContext

NOTHING = np.zeros(0, np.int32)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4,
            [0xFFFFFFFF] * 2,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_reference_gives_the_published_answers(
    counter: list[int], key: list[int], answer: list[int]
) -> None:
    assert reference.philox4x32(counter, key) == answer
    assert philox.philox4x32(tuple(counter), tuple(key)) == tuple(answer)


def test_a_plugin_draws_as_the_stage_at_its_place_would() -> None:
    context = SamplerContext(10, frozenset(), 2**64 - 3, 5, 0, [], stage=2)
    numbers = [context.uniform(index) for index in range(100)]
    assert numbers == [reference.uniform(2**64 - 3, 5, index, 2) for index in range(100)]
    assert len({*numbers, *(context.uniform(index, lane=1) for index in range(100))}) == 200


@pytest.mark.parametrize("seed", [0, 1, 0xDEADBEEF, 2**32, 2**64 - 1])
def test_draw_uses_the_number_of_its_key(seed: int) -> None:
    """With a thousand equal tokens the token drawn tells the first digits of the number."""
    row = np.zeros(1000, np.float32)
    for choice in (0, 3, 2**32 - 1):
        for index in (0, 1, 77, 2**32 - 1):
            number = reference.uniform(seed, choice, index, reference.DRAW_STAGE)
            assert draw(row, seed=seed, choice=choice, index=index) == int(number * 1000)


def test_draw_walks_the_cumulative_distribution_in_order_of_ids() -> None:
    """3,000 draws, each where its number falls; numbers too close to a border are left out."""
    logits = np.random.default_rng(4).normal(0, 2, 700).astype(np.float32)
    logits[::5] = -np.inf
    borders = np.cumsum(reference.softmax(logits.astype(np.float64)))
    compared = 0
    for index in range(3000):
        number = reference.uniform(1, 0, index, reference.DRAW_STAGE)
        if np.abs(borders - number).min() < 1e-6:
            continue
        expected = int(np.searchsorted(borders, number, side="right"))
        assert draw(logits, seed=1, choice=0, index=index) == expected
        compared += 1
    assert compared > 2900


def test_xtc_uses_the_number_of_its_own_stage() -> None:
    row = np.zeros(4, np.float32)
    for first_stage in (0, 5):
        chain = SamplerChain(
            4,
            [("top_k", {"k": 4}), ("xtc", {"probability": 0.5})],
            seed=8,
            choice=1,
            first_stage=first_stage,
        )
        for index in range(200):
            logits = row.copy()
            chain.apply(logits, NOTHING, index)
            number = reference.uniform(8, 1, index, first_stage + 1)
            assert np.isinf(logits).any() == (number < 0.5)


def test_draws_do_not_depend_on_the_order_of_calls() -> None:
    logits = np.random.default_rng(0).normal(0, 1, 500).astype(np.float32)
    stages: reference.Stages = [
        ("top_k", {"k": 40}),
        ("xtc", {"probability": 0.5, "threshold": 0.05}),
    ]

    def one(choice: int, index: int) -> int:
        chain = SamplerChain(500, stages, seed=6, choice=choice)
        row = logits.copy()
        chain.apply(row, NOTHING, index)
        return draw(row, seed=6, choice=choice, index=index)

    keys = [(choice, index) for choice in range(4) for index in range(100)]
    forwards = {key: one(*key) for key in keys}
    backwards = {key: one(*key) for key in reversed(keys)}
    with ThreadPoolExecutor(4) as pool:
        together = dict(zip(keys, pool.map(lambda key: one(*key), keys), strict=True))
    assert forwards == backwards == together


def test_equal_rows_give_equal_bits() -> None:
    """The result does not depend on what the chain's thread did before."""
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 65024).astype(np.float32)
    history = random.integers(0, 65024, 300).astype(np.int32)
    stages: reference.Stages = [
        ("penalties", {"repeat": 1.2, "last_n": -1}),
        ("typical", {"p": 0.9}),
        ("top_p", {"p": 0.9}),
        ("temperature", {}),
    ]
    chain = SamplerChain(65024, stages, seed=1, choice=0)
    first = logits.copy()
    chain.apply(first, history, 0)
    small = SamplerChain(10, [("top_k", {"k": 3}), ("typical", {"p": 0.5})], seed=1, choice=0)
    small.apply(np.arange(10, dtype=np.float32), np.array([1], np.int32), 0)
    second = logits.copy()
    chain.apply(second, history, 0)
    assert first.tobytes() == second.tobytes()
