"""Guesses of the tokens to come: those that followed the same few tokens before.

An answer that quotes, lists or repeats is right about many of them. They are computed together with
the next token, in a net that takes hardly longer; each is kept only if it is the token that would
have been chosen, so no answer changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Tokens that have to be the same.
ALIKE = 3

# How much of a guess has been right is a running mean, which begins with a token and moves by this
# share. While it is too low to pay it rises by the latter with each guess, so that one is tried now
# and then.
RATE = 0.2
PATIENCE = 0.005


class Lookup:
    """Of one answer. `worth`: how many guessed tokens have been right of late."""

    def __init__(self) -> None:
        self.worth = 1.0

    def guess(self, history: NDArray[np.int32], most: int, needed: float) -> NDArray[np.int32]:
        """Up to `most` tokens that may follow `history` (int32); none where nothing is alike, or
        where no more than `needed` of them are likely to be right."""
        found = followed(history, most)
        if len(found) and self.worth <= needed:
            self.worth += PATIENCE
            return found[:0]
        return found

    def judged(self, right: int) -> None:
        """So many tokens of the last guess were right."""
        self.worth += RATE * (right - self.worth)


def followed(history: NDArray[np.int32], most: int) -> NDArray[np.int32]:
    """What followed the last ALIKE tokens where they were before: up to `most` tokens, of the
    latest place that has so many, else of the first."""
    places = len(history) - ALIKE
    if most < 1 or places < 1:
        return history[:0]
    alike = np.ones(places, bool)
    for i in range(ALIKE):
        alike &= history[i : places + i] == history[places + i]
    found = np.flatnonzero(alike)
    if not len(found):
        return history[:0]
    long = found[found + most <= places]
    start = int(long[-1] if len(long) else found[0]) + ALIKE
    return history[start : start + most]
