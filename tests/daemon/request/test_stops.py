"""Stop strings across any split of the text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmd.daemon.request.stops import StopStrings

TEXT = st.text(alphabet="abc，", max_size=24)
STOPS = st.lists(st.text(alphabet="abc，", min_size=1, max_size=4), max_size=4)


def run(stops: Sequence[str], pieces: Sequence[str]) -> tuple[str, str | None]:
    matcher = StopStrings(stops)
    text = "".join(map(matcher.feed, pieces)) + matcher.finish()
    return text, matcher.met


def expected(stops: Sequence[str], text: str) -> tuple[str, str | None]:
    """By the definition: the stop complete first, of two complete together the longer."""
    for end in range(1, len(text) + 1):
        met = [stop for stop in stops if text[:end].endswith(stop)]
        if met:
            stop = max(met, key=len)
            return text[: end - len(stop)], stop
    return text, None


@given(STOPS, st.lists(TEXT))
def test_any_split_gives_the_same(stops: list[str], pieces: list[str]) -> None:
    assert run(stops, pieces) == expected(stops, "".join(pieces))


@given(STOPS, TEXT)
def test_no_more_is_held_back_than_may_be_a_stop(stops: list[str], text: str) -> None:
    matcher = StopStrings(stops)
    given_on = matcher.feed(text)
    held = text[len(given_on) :]
    if matcher.met is None and held:
        assert any(stop.startswith(held) and stop != held for stop in stops)


@pytest.mark.parametrize(
    ("stops", "pieces", "text", "met"),
    [
        (["END"], ["the E", "N", "D of"], "the ", "END"),
        (["END"], ["the E", "N", "ough"], "the ENough", None),
        (["END"], ["the EN"], "the EN", None),
        (["\n\n"], ["a\n", "b\n", "\n"], "a\nb", "\n\n"),
        (["abc", "b"], ["ab", "c"], "a", "b"),
        (["bc", "abc"], ["ab", "c"], "", "abc"),
        (["。"], ["你好。", "再见。"], "你好", "。"),
        (["aab"], ["aaab"], "a", "aab"),
        ([], ["abc"], "abc", None),
    ],
)
def test_examples(stops: list[str], pieces: list[str], text: str, met: str | None) -> None:
    assert run(stops, pieces) == (text, met)
