"""A corpus of answers as ChatGLM3 writes them after <|assistant|>, good and bad.

`raw` has the segments joined by the name of the token that separates them; `parts` are the text and
the calls they mean, texts joined. `tools` are the names offered to the model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from glmd.chat import ToolCall

SEPARATOR = "<|assistant|>"
TOOLS = ("get_weather", "get_time", "f", "查天气", "interpreter_2")


class Case(NamedTuple):
    raw: str
    parts: list[str | ToolCall]
    tools: tuple[str, ...] = TOOLS


def _call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments)


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```"


# Plain answers: (raw, text). The first line is empty metadata, or missing.
_PLAIN = [
    ("\n 你好", "你好"),
    (" \n 你好", "你好"),
    ("\n你好！\n我是 ChatGLM3。", "你好！\n我是 ChatGLM3。"),
    ("\n\n\n  spaced", "spaced"),
    ("\n", ""),
    (" ", ""),
    ("", ""),
    ("Hello", "Hello"),
    (" Hello there", "Hello there"),
    ("Hello\nthere", "Hello\nthere"),
    ("\nHello  ", "Hello  "),
    ("\ntwo\n\nparagraphs\n", "two\n\nparagraphs\n"),
    ("\n😀🫠 𠮷野", "😀🫠 𠮷野"),
    ("\n- a\n- b", "- a\n- b"),
    ("\n```python\nprint(1)\n```", "```python\nprint(1)\n```"),
    ("\nget_weather\n```python\ntool_call()\n```", "get_weather\n```python\ntool_call()\n```"),
    ("\n\tindented", "indented"),
    ("\n\u3000\u3000两格", "两格"),
    ("g", "g"),
    ("get_", "get_"),
    ("get_weather", "get_weather"),
    ("get_weather ", "get_weather "),
    ("get_weather is a tool", "get_weather is a tool"),
    ("interpret this", "interpret this"),
    ("interpreter", "interpreter"),
    ("f", "f"),
    ("fine, thanks", "fine, thanks"),
    ("查", "查"),
    ("查天气吗？", "查天气吗？"),
    ("\t", ""),
    ("\tget_weather", "get_weather"),
    ("\r\n你好", "你好"),
    ("<b>bold</b>", "<b>bold</b>"),
    ("\n`", "`"),
    ("```", "```"),
]

# Calls of get_weather: (arguments as written, as meant).
_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("city='北京'", {"city": "北京"}),
    ('city="Paris"', {"city": "Paris"}),
    ("city='北京', days=3", {"city": "北京", "days": 3}),
    ("城市='上海', 天数=2", {"城市": "上海", "天数": 2}),
    ("city='北京',days=3,", {"city": "北京", "days": 3}),
    ("a=None, b=True, c=False", {"a": None, "b": True, "c": False}),
    ("a=-1, b=-0.5, c=1e3", {"a": -1, "b": -0.5, "c": 1000.0}),
    ("a=[1, 2, [3]]", {"a": [1, 2, [3]]}),
    ("a={'b': {'c': []}}", {"a": {"b": {"c": []}}}),
    ("a=(1, 2)", {"a": [1, 2]}),
    ("a='it\\'s'", {"a": "it's"}),
    ('a="it\'s"', {"a": "it's"}),
    ("a='line\\nbreak'", {"a": "line\nbreak"}),
    ("a='''real\nbreak'''", {"a": "real\nbreak"}),
    ("a='```'", {"a": "```"}),
    ("a='```\\n```'", {"a": "```\n```"}),
    ("a='tool_call(b=1)'", {"a": "tool_call(b=1)"}),
    ("a='<|observation|>'", {"a": "<|observation|>"}),
    ("a='😀'", {"a": "😀"}),
    ("a='\\u4f60\\u597d'", {"a": "你好"}),
    ("\n  city='北京',\n  days=3\n", {"city": "北京", "days": 3}),
    ("from='a', to='b'", {"from": "a", "to": "b"}),
    ("**{'two words': 1}", {"two words": 1}),
    ("a=9007199254740993", {"a": 9007199254740993}),
    ("a='x' 'y'", {"a": "xy"}),
    ("a=''", {"a": ""}),
    ("a=r'\\d+'", {"a": "\\d+"}),
    ("a={}", {"a": {}}),
    ("_a1=0x1F", {"_a1": 31}),
]

# Segments that look like calls of get_weather and are none; they come out as they were written.
_BROKEN = [
    "get_weather\n```python\ntool_call(city='北京')",
    "get_weather\n```python\ntool_call(city='北京')\n``",
    "get_weather\n```python\ntool_call(city='北京'",
    "get_weather\n```python\ntool_call(",
    "get_weather\n```python\n",
    "get_weather\n```py",
    "get_weather\n``",
    "get_weather\n",
    "get_weather\nIt rains.",
    "get_weather\ntool_call(city='北京')",
    "get_weather\n`tool_call()`",
    "get_weather\n" + _fenced("tool_call(city)"),
    "get_weather\n" + _fenced("tool_call('北京')"),
    "get_weather\n" + _fenced("tool_call(city=北京)"),
    "get_weather\n" + _fenced("tool_call(city=now())"),
    "get_weather\n" + _fenced("tool_call(city=__import__('os'))"),
    "get_weather\n" + _fenced("tool_call(a=1, a=2)"),
    "get_weather\n" + _fenced("tool_call(a=b'x')"),
    "get_weather\n" + _fenced("tool_call(a=f'{1}')"),
    "get_weather\n" + _fenced("tool_call(a=1e999)"),
    "get_weather\n" + _fenced("tool_call(a=" + "9" * 40 + ")"),
    "get_weather\n" + _fenced("tool_call(a=" + "[" * 99 + "]" * 99 + ")"),
    "get_weather\n" + _fenced("tool_call(a=[1, 2)"),
    "get_weather\n" + _fenced("tool_call(a='x)"),
    "get_weather\n" + _fenced("get_weather(city='北京')"),
    "get_weather\n" + _fenced("print(tool_call())"),
    "get_weather\n" + _fenced("tool_call()\ntool_call()"),
    "get_weather\n" + _fenced(""),
    "get_weather\n" + _fenced("tool_call()") + "\nDone.",
    "get_weather\n" + "Look:\n" + _fenced("tool_call()"),
    "get_stock\n" + _fenced("tool_call(symbol='10111')"),
    "GET_WEATHER\n" + _fenced("tool_call()"),
    "get_weather2\n" + _fenced("tool_call()"),
    "get_weathe\n" + _fenced("tool_call()"),
    "get weather\n" + _fenced("tool_call()"),
    "interpreter\nprint(1)",
    "interpreter\n```python\nprint(1)",
    "interpreter_3\n" + _fenced("print(1)"),
]

_WEATHER = "get_weather\n" + _fenced("tool_call(city='北京')")
_TIME = "get_time\n" + _fenced("tool_call()")
_RAIN = _call("get_weather", city="北京")

_OTHERS = [
    Case(f" {_WEATHER}", [_RAIN]),
    Case(f"get_weather \n {_fenced('tool_call()')}\n", [_call("get_weather")]),
    Case("查天气\n" + _fenced("tool_call()"), [_call("查天气")]),
    Case("f\n" + _fenced("tool_call()"), [_call("f")]),
    Case("interpreter\n" + _fenced("print(1)"), [_call("interpreter", code="print(1)")]),
    Case("interpreter\n ```python\nx = 1\n\ny\n```", [_call("interpreter", code="x = 1\n\ny")]),
    Case("interpreter\n" + _fenced("print('```')"), [_call("interpreter", code="print('```')")]),
    Case("interpreter_2\n" + _fenced("tool_call()"), [_call("interpreter_2")]),
    Case("interpreter\n" + _fenced("1"), [_call("interpreter", code="1")], ()),
    Case(_WEATHER, [_WEATHER], ()),
    Case("get_weather says hello", ["get_weather says hello"], ()),
    Case(f"\n我来查。\n{SEPARATOR}{_WEATHER}", ["我来查。\n", _RAIN]),
    Case(f"\n我来查。{SEPARATOR} {_WEATHER}", ["我来查。", _RAIN]),
    Case(f"{SEPARATOR}{_WEATHER}", [_RAIN]),
    Case(f"\n{SEPARATOR}{_WEATHER}", [_RAIN]),
    Case(f"\nOne.{SEPARATOR}\nTwo.", ["One.\nTwo."]),
    Case(f"\nOne.{SEPARATOR}\n", ["One."]),
    Case(f"\nOne.{SEPARATOR}{SEPARATOR}\nThree.", ["One.\nThree."]),
    Case(f"\nOne.{SEPARATOR}get_stock\nTwo.", ["One.\nget_stock\nTwo."]),
    Case(f"{_WEATHER}{SEPARATOR}{_TIME}", [_RAIN, _call("get_time")]),
    Case(f"{_WEATHER}{SEPARATOR}\nDone.", [_RAIN, "Done."]),
    Case(f"\nA{SEPARATOR}{_WEATHER}{SEPARATOR}\nB", ["A", _RAIN, "\nB"]),
    Case(f"get_weather{SEPARATOR}{_WEATHER}", ["get_weather", _RAIN]),
    Case(f"{_BROKEN[0]}{SEPARATOR}{_WEATHER}", [_BROKEN[0], _RAIN]),
]

CORPUS = [
    *(Case(raw, [text] if text else []) for raw, text in _PLAIN),
    *(
        Case("get_weather\n" + _fenced(f"tool_call({written})"), [ToolCall("get_weather", meant)])
        for written, meant in _CALLS
    ),
    *(Case(raw, [raw]) for raw in _BROKEN),
    *_OTHERS,
]
