"""Tokens of one answer become deltas, and no token is lost."""

from __future__ import annotations

from itertools import chain
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.answers import CORPUS, SEPARATOR, TOOLS, Case
from support.tokenizers import nano, real

from glmd.chat import Message, ToolCall
from glmd.daemon.chat.answer import AnswerParser
from glmd.daemon.engine.messages import Logprob, Token
from glmd.daemon.request.choice import Choice, Content
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.wire.replies import Call, Text

Finish = Literal["stop", "length"]

SPECIAL = nano().special
OBSERVATION = SPECIAL["<|observation|>"]
IDS = st.lists(st.integers(0, nano().vocab + 1), max_size=40)


def ids_of(raw: str, tokenizer: Tokenizer | None = None) -> list[int]:
    """An answer's ids; the separator is the special token, the rest what the model would write."""
    tokenizer = tokenizer or nano()
    first, *others = [tokenizer.encode(segment) for segment in raw.split(SEPARATOR)]
    return [*first, *chain(*([tokenizer.special[SEPARATOR], *ids] for ids in others))]


def chat(tools: tuple[str, ...] = TOOLS, stops: tuple[str, ...] = ()) -> Choice:
    return Choice(nano(), stops, AnswerParser(tools))


def run(choice: Choice, ids: list[int], finish: Finish = "stop", last: int = 2) -> list[Content]:
    """Feed tokens until the choice has ended; `last` is the one with which the engine ends it."""
    deltas: list[Content] = []
    for i, token in enumerate([*ids, last]):
        deltas += choice.token(Token(1, 0, token, finish if i == len(ids) else None))
        if choice.finish_reason is not None:
            break
    return deltas


def text_of(deltas: list[Content]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, Text))


def tokens_of(deltas: list[Content]) -> list[int]:
    return list(chain(*(delta.tokens for delta in deltas)))


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{i}") for i, case in enumerate(CORPUS)])
def test_the_corpus_token_by_token(case: Case) -> None:
    """Up to the first call, which ends an answer, and without the last spaces."""
    choice = chat(case.tools)
    deltas = run(choice, ids_of(case.raw), last=OBSERVATION)
    call = next((part for part in case.parts if isinstance(part, ToolCall)), None)
    before = case.parts[: case.parts.index(call)] if call else case.parts
    text = "".join(map(str, before)).rstrip()
    assert text_of(deltas) == text
    assert [delta.call for delta in deltas if isinstance(delta, Call)] == ([call] if call else [])
    assert choice.finish_reason == ("tool_call" if call else "stop")
    assert choice.message == Message("assistant", text, tool_call=call)


@pytest.mark.needs("real_tokenizer")
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{i}") for i, case in enumerate(CORPUS)])
def test_the_corpus_with_the_real_tokenizer(case: Case) -> None:
    """Other pieces, the same outcome."""
    outcomes = []
    for tokenizer in (nano(), real()):
        choice = Choice(tokenizer, [], AnswerParser(case.tools))
        last = tokenizer.special["<|observation|>"]
        text_and_calls = run(choice, ids_of(case.raw, tokenizer), last=last)
        outcomes.append((text_of(text_and_calls), choice.message, choice.finish_reason))
    assert outcomes[0] == outcomes[1]


@given(IDS, st.sampled_from(["stop", "length"]))
def test_every_token_is_in_one_delta(ids: list[int], finish: Finish) -> None:
    choice = chat()
    deltas = run(choice, ids, finish)
    assert tokens_of(deltas) == [*ids, 2][: choice.made]
    assert choice.made == len(ids) + 1 or choice.finish_reason == "tool_call"


@given(IDS)
def test_a_text_is_given_exactly(ids: list[int]) -> None:
    choice = Choice(nano(), [], None)
    assert text_of(run(choice, ids)) == nano().decode(ids)


def test_swallowed_spaces_go_with_the_first_text() -> None:
    ids = ids_of("\n 你好")
    deltas = run(chat(), ids)
    assert deltas[0].tokens[:2] == ids[:2]
    assert deltas[-1] == Text("", [2])


def test_spaces_at_the_end_are_dropped_and_inside_are_kept() -> None:
    assert text_of(run(chat(), ids_of("\na \n\n b \n"))) == "a \n\n b"


def test_log_probabilities_go_with_their_tokens() -> None:
    emoji = [3 + byte for byte in "😀".encode()]
    choice = Choice(nano(), [], None)
    deltas: list[Content] = []
    for i, token in enumerate([*emoji, 2]):
        logprob = Logprob(-0.5 - i, [(token, -0.5 - i), (3 + ord("a"), -3.0)])
        deltas += choice.token(Token(1, 0, token, "stop" if token == 2 else None, logprob))
    assert [(delta.text, len(delta.tokens)) for delta in deltas if isinstance(delta, Text)] == [
        ("😀", 4),
        ("", 1),
    ]
    for delta in deltas:
        assert [item.token for item in delta.logprobs] == delta.tokens
    first = deltas[0].logprobs[0]
    assert (first.text, first.logprob) == ("<0xF0>", -0.5)
    assert first.top == [(emoji[0], "<0xF0>", -0.5), (3 + ord("a"), "a", -3.0)]


@pytest.mark.parametrize("stop", ["cards", "s, n", "two", "b"])
def test_a_stop_string(stop: str) -> None:
    text = "Give both ids to start: two cards, no more"
    ids = ids_of("\n" + text)
    choice = chat(stops=(stop,))
    deltas = run(choice, ids)
    assert text_of(deltas) == text[: text.index(stop)].rstrip()
    assert (choice.finish_reason, choice.stop) == ("stop", stop)
    assert tokens_of(deltas) == ids[: choice.made]


def test_a_stop_that_does_not_come_is_given_in_the_end() -> None:
    choice = chat(stops=("cards!",))
    assert text_of(run(choice, ids_of("\ntwo cards"))) == "two cards"
    assert (choice.finish_reason, choice.stop) == ("stop", None)


def test_a_stop_in_the_very_last_token_wins_over_the_length() -> None:
    *ids, last = ids_of("\ntwo.")
    choice = chat(stops=(".",))
    run(choice, ids, "length", last)
    assert (choice.finish_reason, choice.stop) == ("stop", ".")


def test_a_newline_stops_without_waiting_for_more() -> None:
    choice = chat(stops=("\n",))
    deltas = run(choice, ids_of("\none\ntwo"))
    assert text_of(deltas) == "one"
    assert choice.made < len(ids_of("\none\ntwo"))


def test_stops_do_not_look_into_a_call() -> None:
    choice = chat(stops=("city",))
    deltas = run(choice, ids_of("get_weather\n```python\ntool_call(city='北京')\n```"))
    assert [type(delta) for delta in deltas] == [Call]
    assert choice.finish_reason == "tool_call"


def test_text_that_might_have_been_a_stop_comes_before_the_call() -> None:
    choice = chat(stops=("now!",))
    deltas = run(choice, ids_of(f"\nI look now{SEPARATOR}f\n```python\ntool_call()\n```"))
    assert text_of(deltas) == "I look now"
    assert choice.message == Message("assistant", "I look now", tool_call=ToolCall("f", {}))


def test_stops_look_into_what_was_no_call() -> None:
    choice = chat(stops=("city",))
    deltas = run(choice, ids_of("get_weather\n```python\ntool_call(city=x)\n```"))
    assert text_of(deltas) == "get_weather\n```python\ntool_call("
    assert (choice.finish_reason, choice.stop) == ("stop", "city")


def test_a_call_ends_the_answer_at_the_next_segment() -> None:
    raw = f"f\n```python\ntool_call()\n```{SEPARATOR}\nmore"
    choice = chat()
    deltas = run(choice, ids_of(raw))
    assert choice.finish_reason == "tool_call"
    assert deltas[-1] == Call(ToolCall("f", {}), ids_of(raw)[: choice.made])
    assert deltas[-1].tokens[-1] == SPECIAL[SEPARATOR]


def test_a_whole_call_at_the_last_token_allowed_is_a_call() -> None:
    *ids, last = ids_of("f\n```python\ntool_call()\n```")
    choice = chat()
    deltas = run(choice, ids, "length", last)
    assert choice.finish_reason == "tool_call"
    assert tokens_of(deltas) == [*ids, last]


def test_half_a_call_at_the_last_token_allowed_is_text() -> None:
    *ids, last = ids_of("f\n```python\ntool_call(")
    choice = chat()
    assert text_of(run(choice, ids, "length", last)) == "f\n```python\ntool_call("
    assert choice.finish_reason == "length"


def test_a_cancelled_answer_gives_what_was_held_back() -> None:
    choice = chat(stops=("two cards",))
    ids = ids_of("\nGive two")
    deltas = list(chain(*(choice.token(Token(1, 0, token)) for token in ids)))
    assert text_of(deltas) == "Give"
    deltas += choice.end("cancelled")
    assert text_of(deltas) == "Give two"
    assert choice.finish_reason == "cancelled"
    assert tokens_of(deltas) == ids


def test_an_answer_of_no_tokens() -> None:
    choice = chat()
    assert choice.token(Token(1, 0, -1, "length")) == []
    assert (choice.finish_reason, choice.made, choice.begun) == ("length", 0, False)


def test_special_tokens_in_the_middle_are_no_text() -> None:
    """With ignore_eos the model goes on behind them."""
    ids = [*ids_of("\none"), 2, SPECIAL["<|user|>"], OBSERVATION, *nano().encode("two")]
    assert text_of(run(chat(), ids)) == "one two"
