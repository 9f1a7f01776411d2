"""The cheapest way to compute so many tokens with nets of a few lengths."""

from __future__ import annotations

import math
from functools import lru_cache

Costs = tuple[tuple[int, float], ...]
"""(length, what a run costs), of which any number of tokens up to the length can be computed."""

Way = tuple[float, int]
"""What tokens cost, and how many of them to compute first."""


def cheapest(first: Costs, later: Costs, single: float, n: int) -> Way:
    """The cheapest way for `n` tokens whose first piece is of a length in `first` and each other of
    one in `later`; any piece may instead be a single token for `single` (inf where that cannot be).
    (inf, n) where nothing covers them. Of equally cheap ways the one with the larger first piece.
    """
    if n == 0:
        return 0.0, 0
    best = (single + cheapest_behind(later, single, n - 1)[0], 1)
    for length, cost in first:
        piece = min(length, n)
        whole = cost + cheapest_behind(later, single, n - piece)[0]
        if whole <= best[0]:
            best = (whole, piece)
    return best if best[0] < math.inf else (math.inf, n)


def cheapest_behind(lengths: Costs, single: float, n: int) -> Way:
    """The same with pieces of `lengths` alone, the largest of them first.

    So many of the tokens are single ones that the others fill their nets, or none is: in between,
    one single token less would cost nothing. Hence only whole units of the lengths are looked at.
    """
    if n == 0:
        return 0.0, 0
    best = (n * single, 1) if single < math.inf else (math.inf, n)
    if not lengths:
        return best
    unit = math.gcd(*(length for length, _ in lengths))
    needed = -(-n // unit)
    table = _table(lengths, unit, 1 << needed.bit_length())
    for units in range(needed, 0, -1):
        rest = n - units * unit
        singles = rest * single if rest > 0 else 0.0
        if singles > best[0]:
            break
        cost, length = table[units]
        if cost + singles <= best[0]:
            best = (cost + singles, min(length, n))
    return best


@lru_cache(maxsize=64)
def _table(lengths: Costs, unit: int, end: int) -> list[Way]:
    """The cheapest way without single tokens for 0, 1, … `end` units.

    That pieces are full but for the last one loses nothing: more tokens never cost less.
    """
    pieces = [(length // unit, length, cost) for length, cost in reversed(lengths)]
    ways: list[Way] = [(0.0, 0)]
    for units in range(1, end + 1):
        best = (math.inf, 0)
        for size, length, cost in pieces:
            whole = cost + (ways[units - size][0] if size < units else 0.0)
            if whole < best[0]:
                best = (whole, length)
        ways.append(best)
    return ways
