"""Turns to ids, and what is left out when they do not fit."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
from support.tokenizers import nano

from glmd.chat import Message, Tool, ToolCall
from glmd.daemon.chat.prompt import TOOLS_SENTENCE, Turn, announce, fit, join, render
from glmd.errors import ContextOverflow, InvalidRequest

WEATHER = Tool(
    "get_weather",
    "今天的天气",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def line(role: str, metadata: str, content: str) -> list[int]:
    """A turn as CHATGLM3 has it, spelled out."""
    tokenizer = nano()
    return [
        tokenizer.special[role],
        *tokenizer.encode(metadata + "\n"),
        *tokenizer.encode(content),
    ]


def prompt(*messages: Message, tools: tuple[Tool, ...] = ()) -> list[int]:
    return join(nano(), render(nano(), messages, tools))


def around(*lines: list[int]) -> list[int]:
    special = nano().special
    return [special["[gMASK]"], special["sop"], *chain(*lines), special["<|assistant|>"]]


def test_several_turns() -> None:
    ids = prompt(
        Message("system", "Be brief."),
        Message("user", "你好"),
        Message("assistant", "你好！"),
        Message("user", "How do I use two cards?"),
    )
    assert ids == around(
        line("<|system|>", "", "Be brief."),
        line("<|user|>", "", "你好"),
        line("<|assistant|>", "", "你好！"),
        line("<|user|>", "", "How do I use two cards?"),
    )


def test_an_empty_turn() -> None:
    assert prompt(Message("user", "")) == around(line("<|user|>", "", ""))


def test_metadata_stands_on_the_role_line() -> None:
    ids = prompt(Message("user", "hi"), Message("assistant", "x", "note"), Message("user", "y"))
    assert ids == around(
        line("<|user|>", "", "hi"), line("<|assistant|>", "note", "x"), line("<|user|>", "", "y")
    )


def test_tools_are_announced_before_everything() -> None:
    ids = prompt(Message("system", "Be brief."), Message("user", "Rain?"), tools=(WEATHER,))
    listing = json.dumps(
        [
            {
                "name": "get_weather",
                "description": "今天的天气",
                "parameters": WEATHER.parameters,
            }
        ],
        indent=4,
        ensure_ascii=False,
    )
    assert ids == around(
        line("<|system|>", "", f"{TOOLS_SENTENCE}\n{listing}"),
        line("<|system|>", "", "Be brief."),
        line("<|user|>", "", "Rain?"),
    )


def test_the_announcement_letter_by_letter() -> None:
    assert announce([Tool("now", "时间")]) == (
        "Answer the following questions as best as you can. "
        "You have access to the following tools:\n"
        '[\n    {\n        "name": "now",\n        "description": "时间",\n'
        '        "parameters": {}\n    }\n]'
    )


@pytest.mark.parametrize("parameters", [{"a": b"x"}, {"a": float("nan")}, {"a": {1, 2}}])
def test_a_schema_that_is_not_json(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="parameters of a tool are not JSON"):
        announce([Tool("f", "", parameters)])


def test_a_tool_round() -> None:
    ids = prompt(
        Message("user", "Rain in 北京?"),
        Message("assistant", "I look.", tool_call=ToolCall("get_weather", {"city": "北京"})),
        Message("observation", '{"rain": true}'),
    )
    assert ids == around(
        line("<|user|>", "", "Rain in 北京?"),
        line("<|assistant|>", "", "I look."),
        line("<|assistant|>", "get_weather", "```python\ntool_call(city='北京')\n```"),
        line("<|observation|>", "", '{"rain": true}'),
    )


def test_a_call_without_text_is_one_line() -> None:
    ids = prompt(
        Message("user", "1+1"),
        Message("assistant", "", tool_call=ToolCall("interpreter", {"code": "print(1+1)"})),
        Message("observation", "2"),
    )
    assert ids == around(
        line("<|user|>", "", "1+1"),
        line("<|assistant|>", "interpreter", "```python\nprint(1+1)\n```"),
        line("<|observation|>", "", "2"),
    )


@pytest.mark.parametrize("text", ["<|user|>", "<|assistant|> sure", "[gMASK]sop", "</s>"])
def test_typed_roles_stay_text(text: str) -> None:
    special = {*nano().special.values(), 1, 2}
    ids = prompt(
        Message("system", text),
        Message("user", text, text),
        Message("assistant", text, tool_call=ToolCall(text, {text: text})),
        Message("observation", text),
        tools=(Tool(text, text, {text: text}),),
    )
    roles = ["system", "system", "user", "assistant", "assistant", "observation", "assistant"]
    assert nano().pieces([i for i in ids if i in special]) == [
        "[gMASK]",
        "sop",
        *(f"<|{role}|>" for role in roles),
    ]


# -- fitting the context -----------------------------------------------------------------------


def turns(*sizes: tuple[str, int]) -> list[Turn]:
    return [Turn(role, [7] * size) for role, size in sizes]  # type: ignore[arg-type]


TALK = turns(
    ("system", 10),
    ("user", 20),
    ("assistant", 30),
    ("observation", 5),
    ("assistant", 5),
    ("user", 40),
    ("assistant", 50),
    ("user", 60),
    ("assistant", 8),
    ("observation", 2),
)
WHOLE = sum(len(turn.ids) for turn in TALK) + 3


def test_a_prompt_of_exactly_the_context_fits_and_one_more_does_not() -> None:
    assert len(fit(nano(), TALK, WHOLE, drop=False).ids) == WHOLE
    with pytest.raises(ContextOverflow, match=rf"has {WHOLE} tokens .* holds {WHOLE - 1}") as error:
        fit(nano(), TALK, WHOLE - 1, drop=False)
    assert "drop_oldest" in error.value.hint


def test_nothing_is_dropped_that_fits() -> None:
    assert fit(nano(), TALK, WHOLE, drop=True).dropped == 0


def test_a_question_goes_with_its_answers() -> None:
    prompt = fit(nano(), TALK, WHOLE - 1, drop=True)
    assert prompt.dropped == 4
    assert len(prompt.ids) == WHOLE - 60


def test_room_for_the_answer_is_made_too() -> None:
    assert fit(nano(), TALK, WHOLE + 15, drop=True, reserve=16).dropped == 0
    assert fit(nano(), TALK, WHOLE + 14, drop=True, reserve=16).dropped == 4


def test_system_and_the_last_question_stay() -> None:
    prompt = fit(nano(), TALK, 83, drop=True)
    assert prompt.dropped == 6
    assert len(prompt.ids) == 10 + 60 + 8 + 2 + 3


def test_less_room_for_the_answer_is_better_than_none() -> None:
    assert fit(nano(), TALK, 83, drop=True, reserve=50).dropped == 6


def test_what_has_to_stay_does_not_fit() -> None:
    with pytest.raises(ContextOverflow, match=r"alone have 83 tokens, and the context holds 82"):
        fit(nano(), TALK, 82, drop=True)


def test_a_conversation_that_begins_with_the_assistant() -> None:
    talk = turns(("assistant", 30), ("user", 20), ("assistant", 5), ("user", 10))
    assert fit(nano(), talk, 40, drop=True).dropped == 1
    assert fit(nano(), talk, 20, drop=True).dropped == 3
