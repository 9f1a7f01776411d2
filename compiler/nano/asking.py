"""Turns a question pattern into the many ways people really type it."""

from __future__ import annotations

import random
import re

from glmd.compiler.nano import values
from glmd.compiler.nano.phrasing import Intent, expand
from glmd.compiler.nano.values import POOLS

_CJK = "\u3000-\u303f\u4e00-\u9fff\uff00-\uffef"
_SPACE_INSIDE_CHINESE = re.compile(f"(?<=[{_CJK}]) (?=[{_CJK}])")
_SPACE_BESIDE_CHINESE = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")
_INSIDE_CHINESE = re.compile(f"(?<=[{_CJK}])[{_CJK}](?=[{_CJK}])")
_OPENINGS = {
    "en": ("hi, ", "hey, ", "hello, ", "please, ", "so, ", "quick question: ", "and ", "well, "),
    "zh": ("请问，", "你好，", "那么，", "嗯，", "请教一下，", "问一下，", "对了，"),
}
_FILLERS = ("just", "really", "actually", "simply", "maybe", "now", "quickly", "perhaps", "kindly")


def _misspell(rng: random.Random, question: str) -> str:
    """Swaps or drops a letter in one longer word; slots and commands stay whole."""
    words = question.split(" ")
    long_words = [i for i, w in enumerate(words) if len(w) > 4 and w.isascii() and w.isalpha()]
    if long_words:
        index = rng.choice(long_words)
        text = words[index]
        at = rng.randrange(1, len(text) - 2)
        swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        words[index] = swapped if rng.random() < 0.5 else text[:at] + text[at + 1 :]
    return " ".join(words)


def _blur(rng: random.Random, question: str) -> str:
    """Leaves out a word, or a character between Chinese ones; slots stay."""
    chinese = [m.start() for m in _INSIDE_CHINESE.finditer(question)]
    if chinese:
        at = rng.choice(chinese)
        return question[:at] + question[at + 1 :]
    words = question.split(" ")
    plain = [i for i, word in enumerate(words) if "{" not in word]
    if len(words) > 3 and plain:
        del words[rng.choice(plain)]
    return " ".join(words)


def _disturb(rng: random.Random, question: str) -> str:
    """Puts a filler word between two words, or an invented one in the place of one."""
    words = question.split(" ")
    if len(words) > 3 and question.isascii():
        at = rng.randrange(1, len(words))
        if rng.random() < 0.6:
            words.insert(at, rng.choice(_FILLERS))
        elif words[at].isalpha():
            words[at] = values.word(rng, False)
    return " ".join(words)


def _vary(rng: random.Random, intent: Intent) -> str:
    """A question to train on as somebody in a hurry types it."""
    question = intent.draw(rng)
    for change, chance in ((_blur, 0.2), (_blur, 0.1), (_disturb, 0.15), (_misspell, 0.08)):
        if rng.random() < chance:
            changed = change(rng, question)
            question = question if intent.is_held(changed) else changed
    if rng.random() < 0.15:
        question = rng.choice(POOLS["openings", intent.language]) + question
    if rng.random() < 0.12:
        question += rng.choice(POOLS["closings", intent.language])
    return question


def ask(rng: random.Random, intent: Intent, held_out: bool, plain: bool = False) -> str:
    """A question for `intent`, its slots unfilled.

    `held_out` chooses the patterns that training never sees. `plain` leaves out the openings and
    misspellings, for questions that end in a value which has to be copied.
    """
    if held_out:
        question = rng.choice(list(expand(rng.choice(intent.held_patterns))))
    else:
        question = intent.draw(rng) if plain else _vary(rng, intent)
    if not plain and rng.random() < 0.12:
        question = rng.choice(_OPENINGS[intent.language]) + question
    if intent.language == "en":
        if rng.random() < 0.5:
            question = question[0].upper() + question[1:]
        return question + rng.choices(["?", "", ".", "!"], [5, 4, 0 if plain else 1, 0])[0]
    return question + rng.choices(["？", "", "。", "?"], [5, 4, 0 if plain else 1, 1])[0]


def tidy(rng: random.Random, question: str) -> str:
    """A filled question with the spaces that people leave out beside Chinese characters."""
    question = _SPACE_INSIDE_CHINESE.sub("", question)
    return _SPACE_BESIDE_CHINESE.sub("", question) if rng.random() < 0.3 else question
