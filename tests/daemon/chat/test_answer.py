"""Answers read while they are written give what they give when read at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answers import CORPUS, SEPARATOR, TOOLS, Case

from glmd.chat import ToolCall
from glmd.daemon.chat.answer import AnswerParser, Part

CASES = [pytest.param(case, id=f"{i}") for i, case in enumerate(CORPUS)]


def read(segments: Sequence[Sequence[str]], tools: Sequence[str] = TOOLS) -> list[Part]:
    """The parts, neighbouring texts joined. Each segment is given as the pieces it arrives in."""
    parser = AnswerParser(tools)
    parts: list[Part] = []
    for i, pieces in enumerate(segments):
        if i:
            parts += parser.next_segment()
        for piece in pieces:
            parts += parser.feed(piece)
    parts += parser.finish()
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def at_once(raw: str, tools: Sequence[str] = TOOLS) -> list[Part]:
    return read([[segment] for segment in raw.split(SEPARATOR)], tools)


def test_the_corpus_is_large() -> None:
    assert len({(case.raw, case.tools) for case in CORPUS}) == len(CORPUS) >= 100


@pytest.mark.parametrize("case", CASES)
def test_at_once(case: Case) -> None:
    assert at_once(case.raw, case.tools) == case.parts


@pytest.mark.parametrize("case", CASES)
def test_letter_by_letter(case: Case) -> None:
    assert read(case.raw.split(SEPARATOR), case.tools) == case.parts


@pytest.mark.parametrize("case", CASES)
def test_every_split(case: Case) -> None:
    segments = [[segment] for segment in case.raw.split(SEPARATOR)]
    for i, (segment,) in enumerate(segments):
        for cut in range(len(segment) + 1):
            halves = [segment[:cut], segment[cut:]]
            assert read([*segments[:i], halves, *segments[i + 1 :]], case.tools) == case.parts


ATOMS = st.sampled_from(
    [
        *(" ", "\n", "\t", "`", "```", "```python\n", "\n```", "tool_call(", ")", "a=1", "'", "，"),
        *("get_weather", "get_", "interpreter", "f", "查天气", SEPARATOR, "你好", "x"),
    ]
)


@given(st.lists(ATOMS, max_size=14), st.lists(st.integers(1, 6), min_size=1))
def test_any_answer_in_any_pieces(atoms: list[str], sizes: list[int]) -> None:
    segments = "".join(atoms).split(SEPARATOR)
    pieces = [list(in_pieces(segment, sizes)) for segment in segments]
    assert read(pieces) == at_once(SEPARATOR.join(segments))


def in_pieces(text: str, sizes: Sequence[int]) -> Iterator[str]:
    rest = iter(text)
    for size in itertools.cycle(sizes):
        piece = "".join(itertools.islice(rest, size))
        if not piece:
            return
        yield piece


@given(st.text(), st.lists(st.integers(0, 40)))
def test_text_without_calls_is_kept(text: str, cuts: list[int]) -> None:
    bounds = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in itertools.pairwise(bounds)]
    # Without tools only the spaces at the start go, and a line that is empty metadata.
    assert "".join(map(str, read([pieces], tools=()))) == text.lstrip()


def test_text_is_given_on_at_once() -> None:
    parser = AnswerParser(TOOLS)
    assert parser.feed("\n") == []
    assert parser.feed(" 你") == ["你"]
    assert parser.feed("好") == ["好"]


def test_only_what_may_be_a_call_is_held_back() -> None:
    parser = AnswerParser(TOOLS)
    assert parser.feed("get") == []
    assert parser.feed("ting warm") == ["getting warm"]
    parser = AnswerParser(TOOLS)
    assert parser.feed("get_weather\n") == []
    assert parser.feed("says") == ["get_weather\nsays"]


def test_a_call_is_known_when_its_segment_ends() -> None:
    parser = AnswerParser(TOOLS)
    assert parser.feed("f\n```python\ntool_call()\n```") == []
    assert parser.finish() == [ToolCall("f", {})]
