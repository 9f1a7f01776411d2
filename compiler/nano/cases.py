"""The held-out evaluation: prompts with the one answer that is right.

Training never has what is asked here: the questions come from held-out patterns; names, numbers,
tool names and argument names from the held-out side of every pool that is split (see `phrasing` and
`values`). Units, languages and what a tool says are the same on both sides.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from glmd.compiler.nano.corpus import (
    FACTS,
    LANGUAGES,
    Library,
    any_plain_turns,
    fact_slots,
    memory_turns,
    plain_turns,
)
from glmd.compiler.nano.dialogue import Turn, parse_call
from glmd.compiler.nano.toolbox import KINDS
from glmd.compiler.nano.tools import announce, tool_turns

_FACT = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Case:
    """A prompt, the turn that should follow, and the line of the report it counts for."""

    group: str
    language: str
    prompt: tuple[Turn, ...]
    expected: Turn


def is_right(expected: Turn, got: Turn) -> bool:
    """Whether `got` answers as `expected` does.

    A tool call must be well-formed, of the right tool, with equal arguments. An answer must be the
    intended one, or hold all of its facts: the parts in backquotes.
    """
    if got.metadata != expected.metadata:
        return False
    if expected.metadata:
        arguments = parse_call(got.content)
        return arguments is not None and arguments == parse_call(expected.content)
    facts = _FACT.findall(expected.content)
    return got.content == expected.content or (
        bool(facts) and set(_FACT.findall(got.content)) == set(facts)
    )


def _question_cases(rng: random.Random, library: Library, count: int) -> Iterator[Case]:
    for (topic, language), intents in library.plain.items():
        for intent in intents:
            for _ in range(count):
                question, answer = plain_turns(rng, intent, True)
                yield Case(f"questions: {topic}", language, (question,), answer)


def _memory_cases(rng: random.Random, library: Library, count: int) -> Iterator[Case]:
    for language in LANGUAGES:
        for fact in FACTS:
            for _ in range(count):
                slots = fact_slots(rng, fact, language, True)
                prompt = [*memory_turns(rng, library, "tell", fact, language, slots, True)]
                between = random.Random(rng.random())
                for _ in range(rng.randint(0, 3)):
                    prompt += any_plain_turns(between, library, language)
                asked, answer = memory_turns(rng, library, "recall", fact, language, slots, True)
                yield Case("carry-over", language, (*prompt, asked), answer)


def _tool_cases(rng: random.Random, library: Library, count: int) -> Iterator[Case]:
    names = [*KINDS, "generic"]
    for language in LANGUAGES:
        for kind in names:
            for _ in range(count):
                others = rng.sample([name for name in names if name != kind], rng.randint(0, 2))
                system, tools = announce(rng, language, True, [kind, *others])
                tool = next(tool for tool in tools if tool.kind == kind)
                question, call, observation, answer = tool_turns(
                    rng, tool, library.named[kind, language], True
                )
                asked = (system, question)
                yield Case("tool calls", language, asked, call)
                yield Case("tool answers", language, (*asked, call, observation), answer)


def cases(seed: int, count: int) -> list[Case]:
    """The evaluation's cases: `count` for each intent, more for each fact and kind of tool.

    Each group draws from a stream of its own, so that none depends on how much another one draws.
    """
    library = Library.load()
    groups = (
        ("questions", _question_cases, count),
        ("memory", _memory_cases, 4 * count),
        ("tools", _tool_cases, 2 * count),
    )
    return [
        case
        for name, make, size in groups
        for case in make(random.Random(f"{seed} {name}"), library, size)
    ]
