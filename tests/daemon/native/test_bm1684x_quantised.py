"""Quantised bmodels on the simulator, of our recipes and of the vendor's llm_convert.py: teacher-
forced, they give the logits of the weights that the quantisation leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from support.bmodels import SEQ_LENGTH, TINY, Form, build_bmodel
from support.checkpoints import Shape
from support.dequantised import dequantised_tensors, logits
from support.glm_models import Tensors
from support.serve_bmodels import serve_bmodel
from support.simulated import Simulated, Step, simulated
from support.vendor import VENDOR, VENDOR_SEED, converted

from glmd.packed import Mode

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]

CONVERSATIONS = 3
PROMPT = 8  # positions computed at once; those behind it are computed one by one
ROWS = 8  # of the widest batch
CHUNK = 16

Logits = NDArray[np.float32]
Found = Iterator[tuple[int, int, Logits]]  # of a conversation, at a position


def check(shape: Shape, tensors: Tensors, found: Found) -> None:
    """Cosine of at least 0.999 at each position, the same first token at 95 % of them."""
    expected: dict[int, NDArray[np.float64]] = {}
    cosines, agreed = [], []
    for seed, position, row in found:
        if seed not in expected:
            expected[seed] = logits(shape, tensors, tokens_of(seed, shape))
        meant = expected[seed][position]
        cosines.append(row @ meant / np.linalg.norm(row) / np.linalg.norm(meant))
        agreed.append(row.argmax() == meant.argmax())
    print(f"{len(agreed)} positions: cosine {min(cosines):.6f}, {np.mean(agreed):.1%} agree")
    assert min(cosines) >= 0.999
    assert np.mean(agreed) >= 0.95


def tokens_of(seed: int, shape: Shape) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(0, shape.vocab, SEQ_LENGTH)]


def asked(chip: Simulated, steps: Sequence[Step]) -> list[Logits]:
    return [found.logits for found in chip.forward(*steps) if found.logits is not None]


def one_by_one(chip: Simulated, shape: Shape) -> Found:
    """A conversation alone, token by token behind its prompt."""
    for seed in range(CONVERSATIONS):
        tokens = tokens_of(seed, shape)
        for end in range(PROMPT, SEQ_LENGTH + 1):
            start = end - 1 if end > PROMPT else 0
            (row,) = asked(chip, [Step(0, start, tokens[start:end])])
            yield seed, end - 1, row


def in_batches(chip: Simulated, shape: Shape) -> Found:
    """As many at once as there are rows, at places of their own."""
    all = [tokens_of(seed, shape) for seed in range(ROWS)]
    for slot, tokens in enumerate(all):
        chip.one(slot, 0, tokens[: PROMPT + slot], "none")
    for step in range(SEQ_LENGTH - PROMPT - ROWS + 1):
        places = [PROMPT + slot + step for slot in range(ROWS)]
        rows = [Step(slot, at, [all[slot][at]]) for slot, at in enumerate(places)]
        for slot, row in enumerate(asked(chip, rows)):
            yield slot, places[slot], row


def in_chunks(chip: Simulated, shape: Shape) -> Found:
    """Every token of a piece is asked for."""
    for seed in range(CONVERSATIONS):
        tokens = tokens_of(seed, shape)
        for start in range(0, SEQ_LENGTH, CHUNK):
            places = range(start, start + CHUNK)
            rows = asked(chip, [Step(0, at, [tokens[at]]) for at in places])
            yield from ((seed, at, row) for at, row in zip(places, rows, strict=True))


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_the_seed_recipe(mode: Mode) -> None:
    tensors = dequantised_tensors(TINY, 0, mode, head=mode)
    with simulated(build_bmodel(TINY, Form(mode=mode)), slots=1) as chip:
        check(TINY, tensors, one_by_one(chip, TINY))


@pytest.fixture(scope="module", params=["int8", "int4"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Simulated, Tensors]]:
    mode: Mode = request.param
    tensors = dequantised_tensors(TINY, 0, mode, head=mode)
    model = serve_bmodel(TINY, SEQ_LENGTH, mode=mode, batches=(1, ROWS))
    with simulated(model, slots=ROWS) as chip:
        yield chip, tensors


@pytest.mark.parametrize("steps", [one_by_one, in_batches, in_chunks])
def test_the_serve_recipe(
    served: tuple[Simulated, Tensors], steps: Callable[[Simulated, Shape], Found]
) -> None:
    chip, tensors = served
    check(TINY, tensors, steps(chip, TINY))


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_the_vendors_recipe(mode: Mode) -> None:
    """It leaves the output layer in F16."""
    tensors = dequantised_tensors(VENDOR, VENDOR_SEED, mode, head="f16")
    with simulated(converted(mode, "--do_sample"), slots=1) as chip:
        check(VENDOR, tensors, one_by_one(chip, VENDOR))


def test_other_weights_would_be_noticed() -> None:
    """What is checked above tells int4 from weights that are not quantised."""
    tensors = dequantised_tensors(TINY, 0, "f16", head="f16")
    with (
        simulated(build_bmodel(TINY, Form(mode="int4")), slots=1) as chip,
        pytest.raises(AssertionError),
    ):
        check(TINY, tensors, one_by_one(chip, TINY))
