"""Parameters are checked in the core by their JSON schema, as the plugin's own type would."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from glmd.daemon.plugins.schema import checker
from glmd.errors import InvalidRequest

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Inner(msgspec.Struct):
    a: int
    b: list[str] = []


class Node(msgspec.Struct):
    children: list[Node] = []


class First(msgspec.Struct, tag=True):
    a: int = 0


class Second(msgspec.Struct, tag=True):
    b: int = 0


class Tagged(msgspec.Struct):
    one: First | Second


class Params(msgspec.Struct):
    p: Probability
    n: Annotated[int, msgspec.Meta(gt=0, lt=10)] = 1
    word: Annotated[str, msgspec.Meta(max_length=3, pattern="^[a-z]*$")] = ""
    mode: Literal["a", "b"] = "a"
    level: Literal[1, 2] = 1
    maybe: int | None = None
    either: int | str = 0
    flag: bool = False
    pair: tuple[int, str] = (0, "")
    some: Annotated[list[int], msgspec.Meta(min_length=1, max_length=2)] | None = None
    inner: Inner | None = None
    table: dict[str, int] = {}
    tree: Node | None = None
    anything: Any = None
    data: bytes = b""
    kind: int = msgspec.field(name="class", default=0)


CHECK = checker("shout", msgspec.json.schema(Params), "loud")

GOOD: list[dict[str, Any]] = [
    {"p": 0.5},
    {"p": 1},
    {"p": 0, "n": 9, "word": "abc", "mode": "b", "level": 2, "maybe": None, "flag": True},
    {"p": 0, "maybe": 3, "either": "x", "pair": [1, "x"], "some": [1, 2]},
    {"p": 0, "inner": {"a": 1, "b": ["x"]}, "table": {"x": 1}, "class": 4},
    {"p": 0, "tree": {"children": [{"children": []}]}, "anything": {"x": [1]}, "data": "AAA="},
]
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({}, "The field p is missing."),
    "too much": ({"p": 1.5}, "The field p: expected float <= 1.0"),
    "text": ({"p": "x"}, "The field p: expected float, got str; p is 'x'."),
    "too little": ({"p": 0, "n": 0}, "The field n: expected int >= 1"),
    "no integer": ({"p": 0, "n": 1.5}, "The field n: expected int"),
    "too long": ({"p": 0, "word": "abcd"}, "The field word: expected str of length <= 3"),
    "pattern": ({"p": 0, "word": "A"}, "The field word: expected str matching"),
    "no choice": ({"p": 0, "mode": "c"}, "The field mode: 'c' is none of 'a', 'b'."),
    "no number": ({"p": 0, "level": 3}, "The field level: 3 is none of 1, 2."),
    "null": ({"p": 0, "n": None}, "The field n: expected int, got null; n is None."),
    "neither": (
        {"p": 0, "either": []},
        "The field either: expected int | str, got array; either is [].",
    ),
    "no flag": ({"p": 0, "flag": 1}, "The field flag: expected bool, got int; flag is 1."),
    "no pair": ({"p": 0, "pair": [1]}, "The field pair: expected array of length 2"),
    "too many": ({"p": 0, "some": [1, 2, 3]}, "The field some: expected array of length <= 2"),
    "deep": (
        {"p": 0, "inner": {"a": "x"}},
        "The field inner.a: expected int, got str; inner is {'a': 'x'}.",
    ),
    "deep list": (
        {"p": 0, "inner": {"a": 1, "b": [2]}},
        "inner.b[0]: expected str, got int; inner is ",
    ),
    "table": (
        {"p": 0, "table": {"x": "y"}},
        "table[...]: expected int, got str; table is {'x': 'y'}.",
    ),
    "unknown": ({"p": 0, "q": 1}, "There is no field q."),
    "renamed": ({"p": 0, "class": "x"}, "The field class: expected int, got str; class is 'x'."),
}


@pytest.mark.parametrize("params", GOOD, ids=str)
def test_what_the_plugin_takes_is_let_through(params: dict[str, Any]) -> None:
    msgspec.convert(params, Params)
    CHECK(params)


@pytest.mark.parametrize("case", BAD)
def test_what_it_does_not_take_is_refused_with_the_field(case: str) -> None:
    params, why = BAD[case]
    with pytest.raises(InvalidRequest) as caught:
        CHECK(params)
    assert caught.value.message.startswith("The stage shout: ")
    assert why in caught.value.message
    assert "`glmd plugins info loud`" in caught.value.hint


def test_what_a_schema_cannot_say_is_left_to_the_engine() -> None:
    check = checker("x", msgspec.json.schema(Tagged), "x")
    check({"one": {"type": "Second", "b": 1}})
    with pytest.raises(InvalidRequest, match="one is missing"):
        check({})
