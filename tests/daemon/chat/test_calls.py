"""Tool calls to text and back; nothing in them is ever evaluated."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmd.chat import ToolCall
from glmd.daemon.chat.calls import MAX_DEPTH, MAX_SOURCE, format_call, parse_call

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def parse(arguments: str, name: str = "f") -> dict[str, Any] | None:
    call = parse_call(name, f"```python\ntool_call({arguments})\n```", {"f"})
    return None if call is None else call.arguments


def nested(depth: int) -> str:
    return "a=" + "[" * depth + "]" * depth


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_a_call_survives_being_written(arguments: dict[str, Any]) -> None:
    call = ToolCall("f", arguments)
    assert parse_call(*format_call(call), {"f"}) == call


@pytest.mark.parametrize(
    "key", ["℘", "a·b", "ｆull", "ﬁ", "from", "_keyword_x", "", "a b", "1", "é"]
)
def test_any_name_of_an_argument_survives(key: str) -> None:
    call = ToolCall("f", {key: 1, "b": 2})
    assert parse_call(*format_call(call), {"f"}) == call


@given(st.text())
def test_code_survives_being_written(code: str) -> None:
    call = ToolCall("interpreter", {"code": code})
    assert parse_call(*format_call(call), ()) == call


@given(st.text(alphabet="()[]{},:=*-+'\"\\ \n#af1.é城") | st.text())
def test_no_text_harms(arguments: str) -> None:
    parse(arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("city='北京', days=3", {"city": "北京", "days": 3}),
        ('symbol="10111"', {"symbol": "10111"}),
        ("城市='上海'", {"城市": "上海"}),
        ("a=[1, {'b': (2, None)}, True]", {"a": [1, {"b": [2, None]}, True]}),
        ("a=-1.5, b=+2", {"a": -1.5, "b": 2}),
        ("a='''two\nlines'''", {"a": "two\nlines"}),
        ("a='it''s', b=\"it's\"", {"a": "its", "b": "it's"}),
        ("a='```\\n'", {"a": "```\n"}),
        ('a="""say "hi" """', {"a": 'say "hi" '}),
        ("a='', b=\"\"", {"a": "", "b": ""}),
        ("a='((((', b=']'", {"a": "((((", "b": "]"}),
        ("a=r'\\d', b=u'x'", {"a": "\\d", "b": "x"}),
        ("a='one\\\ntwo'", {"a": "onetwo"}),
        ("a=1e-5, b=1_000, c=.5, d=0x1f", {"a": 1e-5, "b": 1000, "c": 0.5, "d": 31}),
        ("a='C:\\dir\\data'", {"a": "C:\\dir\\data"}),
        ("a='\\ud83d\\ude00'", {"a": "😀"}),
        ("a='\\ud83d'", {"a": "\ufffd"}),
        ("from='a', to='b', class=1", {"from": "a", "to": "b", "class": 1}),
        ("**{'two words': 1, 'b': []}", {"two words": 1, "b": []}),
        ("**{'_keyword_from': 1}", {"_keyword_from": 1}),
        ("\n    a=1,\n    b=2,\n", {"a": 1, "b": 2}),
        (f"a={2**64 - 1}", {"a": 2**64 - 1}),
        (nested(MAX_DEPTH - 1), None),
    ],
)
def test_literals(arguments: str, expected: dict[str, Any] | None) -> None:
    assert parse(arguments) == expected or (expected is None and parse(arguments) is not None)


@pytest.mark.parametrize(
    "arguments",
    [
        "'positional'",
        "*[1]",
        "a=b",
        "a=__import__('os').system('true')",
        "a=open('/etc/passwd').read()",
        "a=(lambda: 1)()",
        "a=[x for x in (1, 2)]",
        "a=1 if 1 else 2",
        "a=1 + 1",
        "a=2 ** 99999999",
        "a='x' * 9",
        "a=f'{1}'",
        "a=rb'x'",
        "a=b'x'",
        "a={1, 2}",
        "a={1: 2}",
        "a={**{'b': 1}}",
        "**[1]",
        "a=1j",
        "a=...",
        "a=1e999",
        f"a={2**64}",
        f"a=-{2**63 + 1}",
        "a=" + "9" * 5000,
        "a=1, a=2",
        "a=1, **{'a': 2}",
        "a=1, from=2, **{'from': 2}",
        "a=",
        "a=[",
        "a=1)",
        "(a=1)",
        "a:=1",
        "a=1; b=2",
        "a=1 # ",
        "a='x',\n # aside\n b=1",
        "a=\\\n1",
        "a=F'x'",
        "a=Rb'x'",
        "a=1'x'",
        "a=x'y'",
        "a='unclosed",
        "a=\x00",
        "a=$",
        "a=--1",
        nested(MAX_DEPTH),
        nested(20_000),
        "a=" + "-" * 20_000 + "1",
        "a=" + "1+" * 20_000 + "1",
        "a=" + "x." * 20_000 + "x",
        "a=f'" + "{" * 20_000 + "'",
        "a='" + "x" * MAX_SOURCE + "'",
    ],
)
def test_what_is_no_literal_is_no_call(arguments: str) -> None:
    assert parse(arguments) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "tool_call(a=1)",
        "```python\ntool_call(a=1)",
        "```python\ntool_call(a=1)\n``",
        "```python\n```",
        "```python\n\n```",
        "```python tool_call(a=1)\n```",
        "```javascript\ntool_call(a=1)\n```",
        "```python\nother_call(a=1)\n```",
        "```python\nos.tool_call(a=1)\n```",
        "```python\ntool_call(a=1).b\n```",
        "```python\ntool_call(a=1)(b=1)\n```",
        "```python\nx = tool_call(a=1)\n```",
        "```python\ntool_call(a=1)\ntool_call(a=2)\n```",
        "```python\ntool_call\n```",
        "Sure:\n```python\ntool_call(a=1)\n```",
        "```python\ntool_call(a=1)\n```\nDone.",
    ],
)
def test_other_forms_are_no_call(content: str) -> None:
    assert parse_call("f", content, {"f"}) is None


@pytest.mark.parametrize(
    "content",
    [
        "```python\ntool_call(a=1)\n```",
        " ```python\ntool_call(a=1)\n```\n",
        "```\ntool_call(a=1)\n```",
        "```python \n  tool_call(a=1)\n\n```",
        "```python\ntool_call(a=1)```",
    ],
)
def test_the_block_may_be_a_little_untidy(content: str) -> None:
    assert parse_call(" f ", content, {"f"}) == ToolCall("f", {"a": 1})


def test_an_unknown_tool_is_no_call() -> None:
    assert parse("a=1", name="g") is None
    assert parse("a=1", name="") is None


def test_the_interpreter_takes_any_code() -> None:
    code = "import os\nprint(os.getcwd())"
    content = f"```python\n{code}\n```"
    assert parse_call("interpreter", content, ()) == ToolCall("interpreter", {"code": code})
    assert parse_call("interpreter", code, ()) is None


def test_a_tool_may_be_named_interpreter() -> None:
    content = "```python\ntool_call(a=1)\n```"
    assert parse_call("interpreter", content, {"interpreter"}) == ToolCall("interpreter", {"a": 1})


def test_the_longest_call_is_read_in_linear_time() -> None:
    def seconds(items: int) -> float:
        """Of processor time, at best of three."""
        runs = []
        for _ in range(3):
            begun = time.thread_time()
            assert parse("a=[" + "1," * items + "]") is not None
            runs.append(time.thread_time() - begun)
        return min(runs)

    assert seconds(16_000) < 24 * seconds(2_000)
