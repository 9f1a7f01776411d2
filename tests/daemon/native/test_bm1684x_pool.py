"""No conversation sees another's keys and values: on the real libbmrt and the simulator, with NaN
in all slots that are not its own. A NaN that reached a product would show, as 0 times NaN is NaN.
What its own slot has behind its end are numbers, and may be wild ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from support.backends import append
from support.bmodels import SEQ_LENGTH, TINY, Form, build_bmodel
from support.serve_bmodels import serve_bmodel
from support.simulated import Simulated, Step, simulated

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

ROWS = 8  # of the widest batch
SLOTS = ROWS + 1
IDS = [int(i) for i in np.random.default_rng(4).integers(0, TINY.vocab, 64)]
HELD = [20, 1, 7, 16, 3, 30, 11, 5]  # tokens of each conversation

# What a hidden row holds at most: the model's own keys and values are below 5. With ten times as
# much a masked score is not far enough below the others, and the sum of all hidden rows, which the
# compiler's attention takes before it weighs it with 0, is more than F16 has.
WILD = 1000.0

Row = NDArray[np.float32]
Rows = NDArray[np.float16]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Simulated]:
    with simulated(serve_bmodel(TINY, SEQ_LENGTH), slots=SLOTS) as backend:
        yield backend


@pytest.fixture
def chip(loaded: Simulated) -> Simulated:
    """With a pool of zeros."""
    for slot in range(SLOTS):
        write(loaded, slot, full_of(loaded, 0))
        loaded.call("release", slot)
    return loaded


def row_values(chip: Simulated) -> int:
    """Of a position's keys or values in one layer."""
    return int(chip.call("facts")["saved_bytes"]) // (2 * TINY.layers * 2)


def read(chip: Simulated, slot: int) -> Rows:
    """[layers, keys and values, positions, values]"""
    saved: NDArray[np.uint8] = chip.call("save", slot)
    n = chip.call("length", slot)
    return saved.view(np.float16).reshape(TINY.layers, 2, n, row_values(chip))


def write(chip: Simulated, slot: int, rows: Rows) -> None:
    chip.call("restore", slot, np.ascontiguousarray(rows).reshape(-1).view(np.uint8))


def full_of(chip: Simulated, number: float) -> Rows:
    return np.full((TINY.layers, 2, SEQ_LENGTH, row_values(chip)), number, np.float16)


def poison(chip: Simulated, slot: int) -> None:
    write(chip, slot, full_of(chip, np.nan))


def logits(chip: Simulated, *steps: Step) -> list[Row]:
    return [found.logits for found in chip.forward(*steps) if found.logits is not None]


def alike(found: list[Row], expected: list[Row]) -> bool:
    """To the last bit."""
    return len(found) == len(expected) and all(map(np.array_equal, found, expected))


def decode(slots: range) -> list[Step]:
    return [Step(slot, HELD[slot], [IDS[-1 - slot]]) for slot in slots]


def test_batches_of_any_width(chip: Simulated) -> None:
    """Of five there is one of eight, with three rows that are missing."""
    for slot, n in enumerate(HELD):
        append(chip, slot, 0, IDS[slot : slot + n], "none")
    expected = {n: logits(chip, *decode(range(n))) for n in range(1, ROWS + 1)}
    for n in range(ROWS, 0, -1):
        poison(chip, n)
        assert alike(logits(chip, *decode(range(n))), expected[n])
    untouched = full_of(chip, np.nan).tobytes()
    assert all(read(chip, slot).tobytes() == untouched for slot in range(1, SLOTS))


def test_a_batch_with_conversations_that_are_broken(chip: Simulated) -> None:
    for slot, n in enumerate(HELD):
        append(chip, slot, 0, IDS[slot : slot + n], "none")
    steps = [step if step.slot % 2 else step._replace(want="none") for step in decode(range(ROWS))]
    expected = logits(chip, *steps)
    for slot in range(0, ROWS, 2):
        poison(chip, slot)
        chip.call("truncate", slot, HELD[slot])
    assert alike(logits(chip, *steps), expected)


# Tokens that are there, and those of a piece: padded, full, at the end of the cache; with nothing
# before it, in a chunk and in a prefill.
PIECES = [(7, 5), (3, 16), (SEQ_LENGTH - 3, 3), (0, 9), (0, 16), (0, 20), (0, SEQ_LENGTH)]


def test_pieces_of_prompts(chip: Simulated) -> None:
    """Their padding is written behind their end, and nowhere else."""

    def piece(held: int, n: int) -> Row:
        chip.call("release", 4)
        if held:
            append(chip, 4, 0, IDS[:held], "none")
        (row,) = logits(chip, Step(4, held, IDS[held : held + n]))
        return row

    expected = [piece(*one) for one in PIECES]
    others = [slot for slot in range(SLOTS) if slot != 4]
    for slot in others:
        poison(chip, slot)
    assert alike([piece(*one) for one in PIECES], expected)
    untouched = full_of(chip, np.nan).tobytes()
    assert all(read(chip, slot).tobytes() == untouched for slot in others)


@pytest.mark.parametrize("wild", [WILD, -WILD])
def test_its_own_rows_behind_its_end(chip: Simulated, wild: float) -> None:
    """To the bit: exp(-10000) is 0 in any precision, and 0 times a number is 0."""
    steps = [
        [Step(0, 7, [IDS[7]])],
        [Step(0, 7, IDS[7:12])],
        [Step(0, 7, IDS[7:23])],
        [Step(0, 7, [IDS[7]]), Step(1, 3, [IDS[3]]), Step(2, 16, [IDS[16]])],
    ]
    held = [7, 3, 16]
    for slot, n in enumerate(held):
        append(chip, slot, 0, IDS[:n], "none")
    own = [read(chip, slot) for slot in range(len(held))]

    def fresh(fill: Rows) -> None:
        for slot, n in enumerate(held):
            rows = fill.copy()
            rows[:, :, :n] = own[slot]
            write(chip, slot, rows)
            chip.call("truncate", slot, n)

    for step in steps:
        fresh(full_of(chip, 0))
        expected = logits(chip, *step)
        fresh(full_of(chip, wild))
        assert alike(logits(chip, *step), expected)


def begun(chip: Simulated) -> None:
    append(chip, 0, 0, IDS[:7], "none")


def copied(chip: Simulated) -> None:
    append(chip, 1, 0, IDS[:9], "none")
    chip.call("copy_prefix", 1, 0, 7)


def brought_back(chip: Simulated) -> None:
    append(chip, 1, 0, IDS[:7], "none")
    write(chip, 0, read(chip, 1))


@pytest.mark.parametrize("arrive", [begun, copied, brought_back])
def test_what_a_broken_conversation_left(
    chip: Simulated, arrive: Callable[[Simulated], None]
) -> None:
    """A conversation whose numbers became too large for F16 leaves NaN in its slot. Whoever has the
    slot next, and however it comes there, is not to find it."""
    next_one = Step(0, 7, [IDS[7]])
    arrive(chip)
    expected = logits(chip, next_one)
    poison(chip, 0)
    chip.call("release", 0)
    arrive(chip)
    assert alike(logits(chip, next_one), expected)


@pytest.mark.parametrize("want", ["token", "logits"])
@pytest.mark.parametrize("recipe", ["serve", "seed"])
def test_a_broken_conversation_is_told(recipe: str, want: str) -> None:
    """The chip's own choice among logits that are NaN is token 0. Who began the conversation is
    told that there is none, and a later one is answered."""
    model = serve_bmodel(TINY, SEQ_LENGTH) if recipe == "serve" else build_bmodel(TINY, Form())
    with simulated(model, slots=1) as chip:
        poison(chip, 0)
        chip.call("truncate", 0, 7)
        (told,) = chip.forward(Step(0, 7, [IDS[7]], want))
        assert told.token == -1
        assert want == "token" or np.isnan(told.logits).all()
        chip.call("truncate", 0, 0)
        assert append(chip, 0, 0, IDS[:8], want).logits is None or want == "logits"
