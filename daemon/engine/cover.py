"""The cheapest way to compute so many tokens with nets of a few lengths."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

Costs = tuple[tuple[int, float], ...]
"""(length, what a run costs), of which any number of tokens up to the length can be computed."""


def cheapest(first: Costs, later: Costs, single: float, n: int) -> tuple[float, int]:
    """What `n` tokens cost at least, and how many of them to compute first.

    The first piece is of a length in `first`, each other of one in `later`; any piece may instead
    be a single token for `single` (inf where that cannot be). (inf, n) where nothing covers them.
    Of equally cheap ways the one with the larger first piece.
    """
    if n == 0:
        return 0.0, 0
    behind = _behind(later, single, 1 << n.bit_length())
    return min(
        (
            (cost + behind[max(n - length, 0)], min(length, n))
            for length, cost in _all(first, single)
        ),
        key=lambda way: (way[0], -way[1]),
        default=(math.inf, n),
    )


@lru_cache(maxsize=16)
def _behind(later: Costs, single: float, end: int) -> tuple[float, ...]:
    """The least cost of 0, 1, … `end` tokens with pieces in any order.

    That a piece is shorter than its net only at the end loses nothing: more tokens never cost less.
    """
    pieces = _all(later, single)
    costs = [0.0]
    for n in range(1, end + 1):
        costs.append(
            min((cost + costs[max(n - length, 0)] for length, cost in pieces), default=math.inf)
        )
    return tuple(costs)


def _all(costs: Costs, single: float) -> Iterable[tuple[int, float]]:
    return (*costs, (1, single))
