"""Question patterns: a small text format, read from ``text/*.txt``, and its expansion.

A file holds macros and intents, separated by blank lines::

    <how> = how do I|how can I          a macro: its alternatives
    @start                              an intent
    ? <how> [start|launch] {thing}      a way to ask, for training; brackets hold alternatives
    ! <how> fire up {thing}             a way to ask that is held out for the evaluation
    = Run `glmd start`.                 the answer; lines that follow belong to it

A question that a held-out pattern can produce is never used for training, also when a training
pattern happens to produce it, and neither is one that differs from it only in politeness and
fillers (`essence`): `Intent.draw` leaves both out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_MACRO = re.compile(r"<[a-z-]+>")
_WORD = re.compile(r"[a-z0-9{}~./_-]+|[\u4e00-\u9fff]")
_POLITE_WORDS = frozenset(
    ["please", "kindly", "so", "and", "well", "now", "then", "hi", "hey", "hello", "thanks"]
) | frozenset("请一下了吗呢吧啊呀哦")
_PUNCTUATION = re.compile(r"[\s.,!?;:'，。！？；：、“”]+")


FILES = {"glmd": ("glmd_daemon", "glmd_use", "glmd_options", "glmd_terms")}
"""Topics of several files, each given without its language."""


def expand(pattern: str) -> Iterator[str]:
    """Every string that `pattern` stands for; `{slots}` are left as they are."""
    inner = _ALTERNATIVES.search(pattern)
    if inner is None:
        yield " ".join(pattern.split())
        return
    before, after = pattern[: inner.start()], pattern[inner.end() :]
    for choice in inner[1].split("|"):
        yield from expand(before + choice + after)


def expand_once(rng: random.Random, pattern: str) -> str:
    """One string that `pattern` stands for, each alternative as likely as the others beside it."""
    while inner := _ALTERNATIVES.search(pattern):
        choice = rng.choice(inner[1].split("|"))
        pattern = f"{pattern[: inner.start()]}{choice}{pattern[inner.end() :]}"
    return " ".join(pattern.split())


def essence(question: str) -> tuple[str, ...]:
    """The words of `question` (of Chinese: the characters) without politeness and fillers."""
    return tuple(w for w in _WORD.findall(question.lower()) if w not in _POLITE_WORDS)


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
    def held_essences(self) -> frozenset[tuple[str, ...]]:
        """The `essence`s of the held-out questions, where they have one."""
        return frozenset(map(essence, self.held_questions)) - {()}

    def is_held(self, question: str) -> bool:
        """Whether `question` is held out, or differs from such a one in politeness only."""
        return (
            fingerprint(question) in self.held_fingerprints
            or essence(question) in self.held_essences
        )

    def draw(self, rng: random.Random) -> str:
        """A question to train on, its slots unfilled."""
        while True:
            question = expand_once(rng, rng.choice(self.train_patterns))
            if not self.is_held(question):
                return question


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
    """The intents of ``text/TOPIC_en.txt`` and ``text/TOPIC_zh.txt``, or of the topic's `FILES`."""
    folder = resources.files(__package__) / "text"
    return [
        intent
        for language in ("en", "zh")
        for name in FILES.get(topic, (topic,))
        for intent in parse_intents(
            (folder / f"{name}_{language}.txt").read_text(encoding="utf-8"), language
        )
    ]
