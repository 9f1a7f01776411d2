"""What fills the slots: names, cities, numbers, paths… and their held-out halves.

Every pool is split by a hash of the value, so that held-out values never occur in training. Numbers
and invented words come from spaces too large to list; the same hash decides about each of them.
"""

from __future__ import annotations

import keyword
import random
import re
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources


def _read_pools() -> dict[tuple[str, str], tuple[str, ...]]:
    text = (resources.files(__package__) / "text" / "pools.txt").read_text(encoding="utf-8")
    pools = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, entries = line.partition(" = ")
            name, language = key.split(" ")
            pools[name, language] = tuple(entries.split("|"))
    return pools


POOLS = _read_pools()
"""Pools of values by name and language, from ``text/pools.txt``."""

_SYLLABLES = POOLS["syllables", "any"]
_KEYWORDS = frozenset(word.lower() for word in keyword.kwlist)
"""They cannot be arguments."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ONSETS = ["", *"bcdfghjklmnpqrstvwxyz", "bl", "br", "ch", "cl", "cr", "dr", "fl", "fr",
    "gl", "gr", "kn", "pl", "pr", "sc", "sh", "sl", "sm", "sn", "sp", "st", "str", "sw",
    "th", "thr", "tr", "tw", "wh"]  # fmt: skip
_CODAS = ["", "", "", "", *"bcdfgklmnprstxz", "ck", "ft", "ld", "lt", "mp", "nd", "ng",
    "nk", "nt", "rd", "rk", "rn", "rt", "sh", "sk", "ss", "st", "th", "tion", "ing",
    "er"]  # fmt: skip


def is_held_out(value: str) -> bool:
    """Whether `value` is kept for the evaluation: one value in eight."""
    return zlib.crc32(value.encode()) % 8 == 0


def draw(rng: random.Random, make: Callable[[random.Random], str], held_out: bool) -> str:
    """A value made by `make` that lies on the wanted side of the split."""
    while True:
        value = make(rng)
        if is_held_out(value) == held_out:
            return value


def pick(rng: random.Random, pool: Sequence[str], held_out: bool) -> str:
    """An entry of `pool` from the wanted side of the split."""
    return draw(rng, lambda r: r.choice(pool), held_out)


def invents(rng: random.Random, held_out: bool, chance: float) -> bool:
    """Whether to use an invented word where one from a pool would do: with `chance` in the
    evaluation, and mostly in training, where a word the model could guess teaches no copying."""
    return rng.random() < (chance if held_out else max(chance, 0.6))


@cache
def _known(pattern: str) -> tuple[str, ...]:
    """What `pattern` finds in the pools, the questions to train on and the answers, each once."""
    found: dict[str, None] = {}
    for file in sorted((resources.files(__package__) / "text").iterdir(), key=lambda f: f.name):
        lines = file.read_text(encoding="utf-8").splitlines()
        trained = "\n".join(line for line in lines if line[:1] not in ("!", "#", "@"))
        found |= dict.fromkeys(re.findall(pattern, trained))
    return tuple(found)


def _any_word(rng: random.Random) -> str:
    """A word of one of several kinds: a model that knows only one kind does not copy others."""
    kind = rng.random()
    if kind < 0.2:
        return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 4)))
    if kind < 0.35:
        return rng.choice(_known(r"\b[a-z]{2,12}\b"))
    if kind < 0.7:  # so that words that are held out are not unheard of in other words
        return rng.choice(_known(r"\b[a-z]{2,12}\b")) + rng.choice(_SYLLABLES)
    if kind < 0.9:
        return "".join(
            rng.choice(_ONSETS) + rng.choice("aeiouy") + rng.choice(_CODAS)
            for _ in range(rng.randint(1, 3))
        )
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(2, 5)))


def word(rng: random.Random, held_out: bool) -> str:
    """An invented word: of two to four syllables, such as `zomali`, where it is held out; to train
    on also one of other syllables, of letters, or one that occurs in the questions."""
    if held_out:
        return draw(
            rng, lambda r: "".join(r.choice(_SYLLABLES) for _ in range(r.randint(2, 4))), True
        )
    while (found := draw(rng, _any_word, False)) in _KEYWORDS:
        pass
    return found


def name(rng: random.Random, language: str, held_out: bool) -> str:
    """An invented name, such as `Zomali`.

    In Chinese most of those for training are characters: half of them drawn from the texts and
    pools, half from all there are, of which most have no piece of their own and have to be copied
    byte by byte.
    """
    if language == "zh" and not held_out and rng.random() < 0.7:

        def make(r: random.Random) -> str:
            known = _known(r"[\u4e00-\u9fa5]")
            return "".join(
                r.choice(known) if r.random() < 0.5 else chr(r.randrange(0x4E00, 0x9FA6))
                for _ in range(r.randint(2, 3))
            )

        return draw(rng, make, False)
    return word(rng, held_out).capitalize()


def pick_or_invent(rng: random.Random, pool: str, language: str, held_out: bool) -> str:
    """An entry of a pool; half of those to train on are invented, so that they are not guessed."""
    if held_out or rng.random() < 0.5:
        return pick(rng, POOLS[pool, language], held_out)
    return name(rng, language, False).lower()


def number(rng: random.Random, digits: int, held_out: bool) -> str:
    """A number of at most `digits` digits without leading zeros."""
    limit = 10 ** rng.randint(1, digits)
    if limit == 10 and held_out:
        limit = 100
    return draw(rng, lambda r: str(r.randrange(limit)), held_out)


def path(rng: random.Random, held_out: bool) -> str:
    """A model path such as `/data/zomali/chatglm3-6b`."""

    def make(r: random.Random) -> str:
        root = r.choice(POOLS["model-roots", "any"])
        middle = r.choice(["", f"/{''.join(r.choice(_SYLLABLES) for _ in range(2))}"])
        return f"{root}{middle}/{r.choice(POOLS['model-files', 'any'])}"

    return draw(rng, make, held_out)


def fill(rng: random.Random, texts: Sequence[str], language: str, held_out: bool) -> list[str]:
    """Fills the slots of `texts`, the same value for the same slot in all of them."""
    first, second = sorted(rng.sample(range(8), 2))
    values = {
        "{path}": path(rng, held_out),
        "{id}": str(first),
        "{id2}": str(second),
        "{mode}": rng.choice(["f16", "int8", "int4"]),
        "{someone}": pick(rng, POOLS["people", language], held_out),
        "{something}": pick(rng, POOLS["things", language], held_out),
    }
    filled = list(texts)
    for slot, value in values.items():
        filled = [text.replace(slot, value) for text in filled]
    return filled
