"""Guesses of what comes next, against a search by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glmd.daemon.engine.lookup import ALIKE, PATIENCE, Lookup, followed


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


def searched(history: list[int], most: int) -> list[int]:
    tail = history[-ALIKE:]
    starts = [i + ALIKE for i in range(len(history) - ALIKE) if history[i : i + ALIKE] == tail]
    long = [start for start in starts if start + most <= len(history)]
    start = long[-1] if long else min(starts, default=len(history))
    return history[start : start + most]


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(0, 9))
def test_what_followed_is_found(history: list[int], most: int) -> None:
    assert followed(ids(*history), most).tolist() == (searched(history, most) if most else [])


def test_the_latest_place_that_is_long_enough() -> None:
    history = ids(1, 2, 3, 10, 11, 1, 2, 3, 20, 21, 1, 2, 3)
    assert followed(history, 2).tolist() == [20, 21]
    assert followed(history, 6).tolist() == [10, 11, 1, 2, 3, 20] or ALIKE != 3
    assert followed(ids(1, 2, 3), 4).tolist() == []
    assert followed(ids(), 4).tolist() == []


def test_wrong_guesses_end_and_are_tried_again_now_and_then() -> None:
    lookup, history = Lookup(), ids(*[1, 2, 3, 4] * 5)
    tried = 0
    for _ in range(1000):
        if len(lookup.guess(history, 4, 0.15)):
            tried += 1
            lookup.judged(0)
    assert tried < 0.2 * 1000
    before = tried
    for _ in range(int(0.2 / PATIENCE)):
        tried += bool(len(lookup.guess(history, 4, 0.15)))
    assert tried > before


def test_right_guesses_go_on() -> None:
    lookup, history = Lookup(), ids(*[1, 2, 3, 4] * 5)
    for _ in range(100):
        assert len(lookup.guess(history, 4, 0.9)) == 4
        lookup.judged(4)
