"""What fills the slots: names, cities, numbers, paths… and their held-out halves.

Every pool is split by a hash of the value, so that held-out values never occur in training. Numbers
and invented words come from spaces too large to list; the same hash decides about each of them.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
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


def word(rng: random.Random, held_out: bool) -> str:
    """An invented word of two to four syllables, such as `zomali`."""
    return draw(
        rng, lambda r: "".join(r.choice(_SYLLABLES) for _ in range(r.randint(2, 4))), held_out
    )


def name(rng: random.Random, language: str, held_out: bool) -> str:
    """An invented name, such as `Zomali`. In Chinese half of those for training are characters
    drawn from all there are: most have no piece of their own and have to be copied byte by byte."""
    if language == "zh" and not held_out and rng.random() < 0.5:
        known = pick(rng, POOLS["names", "zh"], False)
        return "".join(
            rng.choice(known) if rng.random() < 0.3 else chr(rng.randrange(0x4E00, 0x9FA6))
            for _ in range(rng.randint(2, 3))
        )
    return word(rng, held_out).capitalize()


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
