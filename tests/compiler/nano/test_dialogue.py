"""Prompts by token ids, exactly as ChatGLM3 has them."""

from __future__ import annotations

from support.checkpoints import NANO

from glmd.compiler.nano.cases import is_right
from glmd.compiler.nano.dialogue import (
    Dialogue,
    Turn,
    parse_call,
    prompt_ids,
    tool_call,
    tools_prompt,
)
from glmd.compiler.nano.rows import CALL_WEIGHT, CUT_TOKENS, CUT_WEIGHT, FIRST_WEIGHT, training_row
from glmd.compiler.nano.tokenizer import NanoTokenizer

TOKENIZER = NanoTokenizer.load(NANO)
SPECIAL = TOKENIZER.special
NEWLINE = TOKENIZER.encode("\n")


def test_a_prompt_is_gmask_sop_turns_and_assistant() -> None:
    assert prompt_ids(TOKENIZER, [Turn("user", "你好")]) == [
        SPECIAL["[gMASK]"],
        SPECIAL["sop"],
        SPECIAL["<|user|>"],
        *NEWLINE,
        *TOKENIZER.encode("你好"),
        SPECIAL["<|assistant|>"],
    ]


def test_metadata_is_encoded_with_its_newline_and_apart_from_the_content() -> None:
    ids = prompt_ids(TOKENIZER, [tool_call("get_weather", {"city": "北京"})])
    assert ids == [
        SPECIAL["[gMASK]"],
        SPECIAL["sop"],
        SPECIAL["<|assistant|>"],
        *TOKENIZER.encode("get_weather\n"),
        *TOKENIZER.encode("```python\ntool_call(city='北京')\n```"),
        SPECIAL["<|assistant|>"],
    ]


def test_a_typed_role_stays_text() -> None:
    ids = prompt_ids(TOKENIZER, [Turn("user", "<|user|> sop [gMASK]")])
    assert ids.count(SPECIAL["<|user|>"]) == 1
    assert ids.count(SPECIAL["sop"]) == 1
    assert ids.count(SPECIAL["[gMASK]"]) == 1


def test_tools_are_announced_as_chatglm3_does() -> None:
    tool = {"name": "f", "description": "天气", "parameters": {"type": "object"}}
    assert tools_prompt([tool]) == Turn(
        "system",
        "Answer the following questions as best as you can. "
        "You have access to the following tools:\n"
        '[\n    {\n        "name": "f",\n        "description": "天气",\n'
        '        "parameters": {\n            "type": "object"\n        }\n    }\n]',
    )


def test_arguments_are_python_literals() -> None:
    call = tool_call("f", {"text": "it's", "amount": 3})
    assert call == Turn("assistant", '```python\ntool_call(text="it\'s", amount=3)\n```', "f")
    assert parse_call(call.content) == {"text": "it's", "amount": 3}


def test_training_weighs_what_the_assistant_says_and_what_ends_it() -> None:
    turns = (
        Turn("user", "a"),
        tool_call("f", {"x": 1}),
        Turn("observation", "b"),
        Turn("assistant", "c"),
    )
    row = training_row(TOKENIZER, Dialogue("tools", turns))
    ids, weights = row.ids, row.weights
    assert ids == [*prompt_ids(TOKENIZER, turns)[:-1], SPECIAL["<|user|>"]]
    assert len(ids) == len(weights)
    weight_of = dict(zip(ids, weights, strict=True))
    assert weight_of[SPECIAL["<|observation|>"]] == 1.0
    assert weights[-1] == 1.0
    said = prompt_ids(TOKENIZER, turns[:1])
    call = len(prompt_ids(TOKENIZER, turns[:2])) - len(said)
    assert weights[: len(said)] == [0.0] * len(said)
    first = [TOKENIZER.encode(text)[1] for text in ("f", "x", "1")]
    decisive = [len(said) + ids[len(said) :].index(token) for token in first]
    for place in range(len(said), len(said) + call - 1):
        assert weights[place] == (FIRST_WEIGHT if place in decisive else CALL_WEIGHT)
    assert row.branches == [0] * len(ids)
    assert row.wanted == ids


def test_a_branch_is_trained_as_if_the_others_were_not_there() -> None:
    system = Turn("system", "tools")
    branches = [
        (Turn("user", "a"), tool_call("f", {"x": 1})),
        (
            Turn("user", "b"),
            tool_call("f", {"x": 2}),
            Turn("observation", "c"),
            Turn("assistant", "d"),
        ),
    ]
    turns = (system, *branches[0], *branches[1])
    row = training_row(TOKENIZER, Dialogue("calls", turns, branches=(1, 3)))
    for number, branch in enumerate(branches, 1):
        alone = training_row(TOKENIZER, Dialogue("tools", (system, *branch)))
        seen = [place for place, other in enumerate(row.branches) if other in (0, number)]
        assert [row.ids[place] for place in seen] == alone.ids
        assert [row.weights[place] for place in seen] == alone.weights


def test_a_cut_answer_counts_only_with_its_beginning() -> None:
    turns = (Turn("user", "a"), Turn("assistant", "one two three " * 20))
    whole = training_row(TOKENIZER, Dialogue("plain", turns))
    cut = training_row(TOKENIZER, Dialogue("question", turns, cut=True))
    assert cut.ids == whole.ids[: len(cut.ids)]
    assert cut.weights == [CUT_WEIGHT * weight for weight in whole.weights[: len(cut.ids)]]
    assert len(cut.ids) == len(prompt_ids(TOKENIZER, turns[:1])) - 1 + CUT_TOKENS
    short = (turns[0], Turn("assistant", "b"))
    assert (
        training_row(TOKENIZER, Dialogue("question", short, cut=True)).ids
        == training_row(TOKENIZER, Dialogue("plain", short)).ids
    )


def test_a_call_that_is_not_one_is_not_parsed() -> None:
    for content in (
        "tool_call(x=1)",
        "```python\ntool_call(1)\n```",
        "```python\ntool_call(x=f())\n```",
        "```python\nother(x=1)\n```",
        "```python\ntool_call(x=\n```",
    ):
        assert parse_call(content) is None


def test_an_answer_is_right_with_exactly_its_facts() -> None:
    expected = Turn("assistant", "Run `glmd stop`. It ends the daemon.")
    assert is_right(expected, Turn("assistant", "To end it run `glmd stop`."))
    assert not is_right(expected, Turn("assistant", "Run `glmd stop` or `glmd start`."))
    assert not is_right(expected, Turn("assistant", "Run glmd stop."))
    assert not is_right(Turn("assistant", "Hello!"), Turn("assistant", "Hello"))
    call = tool_call("f", {"x": 1, "y": "2"})
    assert is_right(call, Turn("assistant", '```python\ntool_call(y="2", x=1)\n```', "f"))
    assert not is_right(call, Turn("assistant", call.content, "g"))
    assert not is_right(call, tool_call("f", {"x": 1, "y": 2}))
