"""Messages that went wrong on the way: seeded, so that each can be made again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

CORPUS = Path(__file__).parents[1] / "protocol" / "v1" / "requests"

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1 << 40,
    (1 << 64) - 1,
    -(1 << 63),
    0.5,
    float("nan"),
    float("inf"),
    "",
    "x" * 5000,
    "\x00",
    "👩‍👩‍👧",
    [],
    {},
    [[]] * 50,
    {"op": "chat"},
    b"bytes",
    msgpack.ExtType(5, b"data"),
    msgpack.Timestamp(1),
)


def corpus() -> dict[str, list[bytes]]:
    """Operation → messages of it that are right."""
    messages: dict[str, list[bytes]] = {}
    for file in sorted(CORPUS.glob("*.msgpack")):
        payload = file.read_bytes()
        messages.setdefault(msgpack.unpackb(payload)["op"], []).append(payload)
    return messages


def mutated(payloads: list[bytes], rng: random.Random) -> Iterator[bytes]:
    """For ever: half of them hurt as bytes, half as values."""
    values = [msgpack.unpackb(payload) for payload in payloads]
    while True:
        if rng.random() < 0.5:
            yield _bytes(rng.choice(payloads), rng)
        else:
            value = _value(rng.choice(values), rng)
            yield msgpack.packb(value, strict_types=False)


def _bytes(payload: bytes, rng: random.Random) -> bytes:
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        where = rng.randrange(len(data)) if data else 0
        match rng.randrange(5):
            case 0:
                data[where : where + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[where : where + rng.randrange(1, 8)]
            case 2:
                data[where:where] = rng.randbytes(rng.randrange(1, 8))
            case 3:
                data[where:where] = data[rng.randrange(len(data) + 1) :][:64]
            case 4:
                data = data[:where]
    return bytes(data)


def _value(value: Any, rng: random.Random) -> Any:
    """The same with something odd in one place, or a piece missing, doubled, or renamed."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        changed = dict(value)
        key = rng.choice(list(changed))
        match rng.randrange(6):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(ODD[10:14])] = changed.pop(key)
            case 2:
                changed[rng.choice((5, 1.5, None, b"k"))] = rng.choice(ODD)
            case _:
                changed[key] = _value(changed[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        where = rng.randrange(len(value))
        copy = list(value)
        copy[where : where + 1] = rng.choice(
            ([], [_value(value[where], rng)], [value[where]] * rng.choice((2, 300)))
        )
        return copy
    return rng.choice(ODD)
