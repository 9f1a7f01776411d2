"""Where heads should look, told to them in training.

To call one of several tools a model has to find, among many alike, the name that stands behind the
tool's name, and then the one behind the first argument's. Found by gradient descent alone this
takes glm3-nano longer than it is trained: it chose among the announced tools as if it threw dice.
But the corpus knows the places, so some heads are told them, as word alignments are to translation
models (guided alignment training, Chen et al. 2016): the cross entropy of a head's attention is
part of the loss. Nothing of it is left in the model when it is used.

Every announced tool and every call is a chain of names: the tool's, then its arguments'. Two heads
find, for each name, the one before it in the chain; behind them the next name of a call is the one
that follows the same name in the announcement.

What a call says is copied: its names from the announcement, its values from the question. So one
head is told where each value begins, and another, at each piece of a copy, what comes next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

Span = tuple[int, int]

NOWHERE = 0
"""The token to look at where there is nothing to find: the first one of every conversation."""

_TOOL = re.compile(
    r'^ {8}"name": "(?P<name>.*)",\n {8}"description": "(?P<description>.*)",\n'
    r' {8}"(?P<parameters>parameters)": \{\n(?P<body>(?: {9,}.*\n)*)',
    re.MULTILINE,
)
_PROPERTY = re.compile(r'^ {16}"(\w+)": \{', re.MULTILINE)


class Look(Enum):
    """What a head looks for, and which one it is: (layer, head), both from 0."""

    BEFORE = (2, 2)
    """First piece of the name before this one in the chain."""

    BEFORE_END = (2, 3)
    """The token behind that name, which knows its last piece."""

    DESCRIPTION = (3, 3)
    """The words that describe the tool announced here."""

    NEXT = (4, 2)
    """In a call, the announced name that comes next, and behind the last value `NOWHERE`."""

    TOOL = (5, 1)
    """Before a call, the word `parameters` of the tool to call, which knows its name."""

    VALUE = (5, 2)
    """Before a value of a call, its first piece in the question."""

    COPY = (4, 3)
    """At a piece of what a call copies, what follows that piece in the original."""


WEIGHTS = {
    Look.BEFORE: 1.0,
    Look.BEFORE_END: 1.0,
    Look.DESCRIPTION: 0.5,
    Look.NEXT: 3.0,
    Look.TOOL: 3.0,
    Look.VALUE: 3.0,
    Look.COPY: 0.5,
}
"""How much a look counts in the loss; a token of an answer counts 1."""


@dataclass(frozen=True)
class Link:
    """The head of `look` should attend from token `origin` to token `target`."""

    look: Look
    origin: int
    target: int
    weight: float


@dataclass(frozen=True)
class Chain:
    """The names of one tool as token indices: first piece of each, and the token behind it.

    `parameters` and `description` are known of announced tools only, `values` of calls only: the
    pieces of each argument, without its quotes.
    """

    names: tuple[str, ...]
    firsts: tuple[int, ...]
    ends: tuple[int, ...]
    parameters: int = -1
    description: range = range(0)
    values: tuple[range, ...] = ()

    def can_be(self, call: Chain) -> bool:
        """Whether `call` may be one of this tool."""
        return self.names[0] == call.names[0] and set(call.names[1:]) <= set(self.names[1:])


def token_at(spans: Sequence[Span], place: int) -> int:
    """Index of the token whose span holds the character `place`."""
    return next(i for i, (begin, end) in enumerate(spans) if begin <= place < end)


def announced(content: str, spans: Sequence[Span], offset: int) -> list[Chain]:
    """The tools of a system turn; its content's tokens have `spans` and begin at index `offset`."""

    def token(place: int) -> int:
        return offset + token_at(spans, place)

    chains = []
    for tool in _TOOL.finditer(content):
        found = list(_PROPERTY.finditer(content, tool.start("body"), tool.end("body")))
        begins = [tool.start("name"), *(each.start(1) for each in found)]
        ends = [tool.end("name"), *(each.end(1) for each in found)]
        words = range(token(tool.start("description")), token(tool.end("description") - 1) + 1)
        chains.append(
            Chain(
                (tool["name"], *(each[1] for each in found)),
                tuple(map(token, begins)),
                tuple(map(token, ends)),
                token(tool.start("parameters")),
                words,
            )
        )
    return chains


def called(name: str, arguments: Mapping[str, object], spans: tuple[Sequence[Span], Sequence[Span]],
           offset: int, content: str) -> Chain:  # fmt: skip
    """The call of the tool `name` with `arguments`, in this order.

    `spans` are those of the metadata with its newline, which begins at index `offset`, and of the
    content behind it. Raises ValueError where an argument is not in `content`.
    """
    metadata, said = spans
    firsts = [offset + token_at(metadata, 0)]
    ends = [offset + token_at(metadata, len(name))]
    values = []
    behind = offset + len(metadata)
    place = 0
    for index, (argument, value) in enumerate(arguments.items()):
        mark = ", " if index else "("
        place = content.index(f"{mark}{argument}=", place) + len(mark)
        firsts.append(behind + token_at(said, place))
        place += len(argument)
        ends.append(behind + token_at(said, place))
        quotes = int(isinstance(value, str))
        begin, end = place + 1 + quotes, place + 1 + len(repr(value)) - quotes
        pieces = [i for i, span in enumerate(said) if begin <= span[0] and span[1] <= end]
        values.append(range(behind + pieces[0], behind + pieces[-1] + 1) if pieces else range(0))
        place = end
    return Chain((name, *arguments), tuple(firsts), tuple(ends), values=tuple(values))


def announcement_links(tools: Sequence[Chain]) -> Iterator[Link]:
    """What heads should look at within an announcement."""
    for tool in tools:
        firsts = (*tool.firsts[1:], tool.parameters)
        befores = (*range(len(tool.firsts) - 1), 0)
        for origin, before in zip(firsts, befores, strict=True):
            yield _link(Look.BEFORE, origin, tool.firsts[before])
            yield _link(Look.BEFORE_END, origin, tool.ends[before])
        for origin in (*tool.firsts[1:2], tool.parameters):
            share = WEIGHTS[Look.DESCRIPTION] / len(tool.description)
            for target in tool.description:
                yield Link(Look.DESCRIPTION, origin, target, share)


def call_links(tool: Chain, call: Chain) -> Iterator[Link]:
    """What heads should look at from the tokens that decide about a name of `call`: the one before
    it, and the last piece of the value before that, where it is decided whether there is a name."""
    yield _link(Look.TOOL, call.firsts[0] - 1, tool.parameters)
    announced = [tool.firsts[tool.names.index(name, 1)] for name in call.names[1:]]
    for index, target in enumerate([*announced, NOWHERE]):  # of what follows name `index`
        origins = [call.firsts[index + 1] - 1] if index < len(announced) else []
        if index and call.values[index - 1]:
            origins.append(call.values[index - 1][-1])
        for origin in origins:
            yield _link(Look.NEXT, origin, target)
            yield _link(Look.BEFORE, origin, call.firsts[index])
            yield _link(Look.BEFORE_END, origin, call.ends[index])


def copy_links(ids: Sequence[int], tool: Chain, call: Chain, question: range) -> Iterator[Link]:
    """What heads should look at where `call` copies names of `tool` and words of the question.

    `ids` are those of the conversation. A value that the question has not, or more than once, is
    left alone, and so is a name that has other pieces in the announcement.
    """
    for index, name in enumerate(call.names):
        announced = tool.names.index(name, min(index, 1))
        copy = range(call.firsts[index], call.ends[index])
        original = range(tool.firsts[announced], tool.ends[announced])
        if _pieces(ids, copy) == _pieces(ids, original):
            yield from _following(copy, original)
    for copy in call.values:
        said = _pieces(ids, copy)
        starts = [i for i in question if _pieces(ids, range(i, i + len(copy))) == said]
        if copy and len(starts) == 1:
            yield _link(Look.VALUE, copy[0] - 1, starts[0])
            yield from _following(copy, range(starts[0], starts[0] + len(copy)))


def _pieces(ids: Sequence[int], places: range) -> Sequence[int]:
    return ids[places.start : places.stop]


def _following(copy: range, original: range) -> Iterator[Link]:
    for origin, target in zip(copy, original, strict=True):
        yield _link(Look.COPY, origin, target + 1)


def _link(look: Look, origin: int, target: int) -> Link:
    return Link(look, origin, target, WEIGHTS[look])
