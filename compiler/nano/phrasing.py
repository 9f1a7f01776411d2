"""Question patterns: a small text format, read from ``text/*.txt``, and its expansion.

A file holds macros and intents, separated by blank lines::

    <how> = how do I|how can I          a macro: its alternatives
    @start                              an intent
    ? <how> [start|launch] {thing}      a way to ask, for training; brackets hold alternatives
    ! <how> fire up {thing}             a way to ask that is held out for the evaluation
    = Run `glmd start`.                 the answer; lines that follow belong to it

A question that a held-out pattern can produce is never used for training, also when a training
pattern happens to produce it: `Intent.train_questions` removes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_MACRO = re.compile(r"<[a-z-]+>")
_PUNCTUATION = re.compile(r"[\s.,!?;:'，。！？；：、“”]+")


def expand(pattern: str) -> Iterator[str]:
    """Every string that `pattern` stands for; `{slots}` are left as they are."""
    inner = _ALTERNATIVES.search(pattern)
    if inner is None:
        yield " ".join(pattern.split())
        return
    before, after = pattern[: inner.start()], pattern[inner.end() :]
    for choice in inner[1].split("|"):
        yield from expand(before + choice + after)


def fingerprint(question: str) -> str:
    """`question` without case, spaces and punctuation: what makes two questions the same one."""
    return _PUNCTUATION.sub("", question).lower()


@dataclass(frozen=True)
class Intent:
    """One thing to ask for: the patterns that ask it and the one right answer."""

    name: str
    language: str
    answer: str
    train_patterns: tuple[str, ...] = field(repr=False)
    held_patterns: tuple[str, ...] = field(repr=False)

    @cached_property
    def held_questions(self) -> tuple[str, ...]:
        """All questions of the held-out patterns, slots unfilled."""
        return tuple(dict.fromkeys(q for pattern in self.held_patterns for q in expand(pattern)))

    @cached_property
    def held_fingerprints(self) -> frozenset[str]:
        """The `fingerprint`s of the held-out questions."""
        return frozenset(map(fingerprint, self.held_questions))

    @cached_property
    def train_questions(self) -> tuple[tuple[str, ...], ...]:
        """For each training pattern its questions, without those that are held out."""
        held = self.held_fingerprints
        groups = (
            tuple(q for q in dict.fromkeys(expand(pattern)) if fingerprint(q) not in held)
            for pattern in self.train_patterns
        )
        return tuple(group for group in groups if group)


def parse_intents(text: str, language: str) -> list[Intent]:
    """Reads the format above. Raises ValueError, with the line, where it is not followed."""
    macros: dict[str, str] = {}
    intents: list[Intent] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        name, answer = "", None
        asks: dict[str, list[str]] = {"?": [], "!": []}
        for line in block.splitlines():
            mark, _, rest = line.partition(" ")
            if answer is not None:
                answer += f"\n{line}"
            elif mark.startswith("#"):
                continue
            elif mark.startswith("<") and rest.startswith("= ") and not name:
                macros[mark] = f"[{rest[2:]}]"
            elif mark.startswith("@"):
                name = mark[1:]
            elif mark in asks:
                asks[mark].append(_MACRO.sub(lambda m: macros[m.group()], rest))
            elif mark == "=":
                answer = rest
            else:
                raise ValueError(f"not a line of the question format: {line!r}")
        if name:
            if not (answer and asks["?"] and asks["!"]):
                raise ValueError(f"@{name} ({language}) needs '?', '!' and '=' lines")
            intents.append(Intent(name, language, answer, tuple(asks["?"]), tuple(asks["!"])))
    return intents


def load_intents(topic: str) -> list[Intent]:
    """The intents of ``text/TOPIC_en.txt`` and ``text/TOPIC_zh.txt``."""
    folder = resources.files(__package__) / "text"
    return [
        intent
        for language in ("en", "zh")
        for intent in parse_intents(
            (folder / f"{topic}_{language}.txt").read_text(encoding="utf-8"), language
        )
    ]
