"""The cheapest pieces, against all ways there are."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from glmd.daemon.engine.cover import Costs, cheapest, cheapest_behind

prices = st.one_of(st.integers(1, 20).map(float), st.floats(0.01, 100.0))


@st.composite
def costs(draw: st.DrawFn) -> Costs:
    lengths = sorted(draw(st.sets(st.integers(1, 7), max_size=3)))
    return tuple((n, draw(prices)) for n in lengths)


def tried(first: Costs, later: Costs, single: float, n: int) -> float:
    """The cheapest of all ways, pieces of fewer tokens than their net has among them."""
    if n == 0:
        return 0.0
    ways = [
        cost + tried(later, later, single, n - taken)
        for length, cost in (*first, (1, single))
        for taken in range(1, min(length, n) + 1)
    ]
    return min(ways)


@given(costs(), costs(), st.one_of(prices, st.just(math.inf)), st.integers(0, 7))
def test_no_way_is_cheaper(first: Costs, later: Costs, single: float, n: int) -> None:
    found, expected = cheapest(first, later, single, n)[0], tried(first, later, single, n)
    assert found == expected or math.isclose(found, expected, rel_tol=1e-9)


@given(costs(), prices, st.integers(1, 60))
def test_behind_others_a_first_piece_is_one_of_many(lengths: Costs, single: float, n: int) -> None:
    cost, piece = cheapest_behind(lengths, single, n)
    assert math.isclose(cheapest(lengths, lengths, single, n)[0], cost, rel_tol=1e-9)
    rest = cheapest_behind(lengths, single, n - piece)[0]
    paid = min([price for length, price in lengths if length >= piece] + [single] * (piece == 1))
    assert math.isclose(paid + rest, cost, rel_tol=1e-9)


@given(costs(), costs(), prices, st.integers(1, 60))
def test_the_pieces_add_up_to_the_tokens_and_to_the_cost(
    first: Costs, later: Costs, single: float, n: int
) -> None:
    cost, _ = cheapest(first, later, single, n)
    paid, left, may = 0.0, n, first
    while left:
        piece = cheapest(may, later, single, left)[1]
        assert 0 < piece <= left
        paid += min([price for length, price in may if length >= piece] + [single] * (piece == 1))
        left, may = left - piece, later
    assert math.isclose(paid, cost, rel_tol=1e-9)


# Milliseconds of a layer as the compiler estimates them: W4, 512 positions.
PREFILL: Costs = ((64, 2.67), (128, 4.40), (256, 8.53), (512, 16.87))
CHUNK: Costs = ((16, 2.45), (32, 2.49), (64, 2.74), (128, 4.52))
STEP = 2.12


def pieces(n: int, *, computed: int = 0) -> list[int]:
    found = []
    while n:
        may = PREFILL if computed == 0 else CHUNK
        piece = cheapest(may, CHUNK, STEP, n)[1]
        found.append(piece)
        n, computed = n - piece, computed + piece
    return found


def test_what_the_chip_would_do() -> None:
    assert pieces(10) == [10]
    assert pieces(64) == [64]
    assert pieces(65) == [65]  # one of 128: a step behind 64 would cost more
    assert pieces(150) == [128, 22]
    assert pieces(192) == [128, 64]
    assert pieces(200) == [200]  # one of 256: cheaper than two of 128
    assert pieces(512) == [512]
    assert pieces(600) == [512, 88]
    assert pieces(40, computed=400) == [40]
    assert pieces(1, computed=400) == [1]


def test_one_length_for_all_is_padded() -> None:
    assert cheapest(((8, 5.0),), (), math.inf, 3) == (5.0, 3)
    assert cheapest(((8, 5.0),), (), math.inf, 9)[0] == math.inf


def test_of_equal_ways_the_one_with_fewer_pieces() -> None:
    equal: Costs = ((1, 1.0), (2, 2.0), (4, 4.0))
    assert cheapest(equal, equal, math.inf, 7) == (7.0, 4)
