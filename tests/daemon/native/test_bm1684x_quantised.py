"""Quantised bmodels on the simulator, of our recipe and of the vendor's llm_convert.py: teacher-
forced, they give the logits of the weights that the quantisation leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.bmodels import SEQ_LENGTH, TINY, Form, build_bmodel
from support.checkpoints import Shape
from support.dequantised import dequantised_tensors, logits
from support.glm_models import Tensors
from support.simulated import simulated
from support.vendor import VENDOR, VENDOR_SEED, converted

from glmd.packed import Mode

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]

CONVERSATIONS = 3
PROMPT = 8  # positions computed at once; those behind it are computed one by one


def check(model: Path, shape: Shape, tensors: Tensors) -> None:
    """Cosine of at least 0.999 at each position, the same first token at 95 % of them."""
    cosines, agreed = [], []
    with simulated(model, slots=1) as backend:
        for seed in range(CONVERSATIONS):
            tokens = np.random.default_rng(seed).integers(0, shape.vocab, SEQ_LENGTH).tolist()
            expected = logits(shape, tensors, tokens)[PROMPT - 1 :]
            steps = [tokens[:PROMPT], *([token] for token in tokens[PROMPT:])]
            pos = 0
            for step, meant in zip(steps, expected, strict=True):
                found = backend.one(0, pos, step, "logits").logits
                pos += len(step)
                assert found is not None
                cosines.append(found @ meant / np.linalg.norm(found) / np.linalg.norm(meant))
                agreed.append(found.argmax() == meant.argmax())
    print(f"{len(agreed)} positions: cosine {min(cosines):.6f}, {np.mean(agreed):.1%} agree")
    assert min(cosines) >= 0.999
    assert np.mean(agreed) >= 0.95


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_our_recipe(mode: Mode) -> None:
    tensors = dequantised_tensors(TINY, 0, mode, head=mode)
    check(build_bmodel(TINY, Form(mode=mode)), TINY, tensors)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_the_vendors_recipe(mode: Mode) -> None:
    """It leaves the output layer in F16."""
    tensors = dequantised_tensors(VENDOR, VENDOR_SEED, mode, head="f16")
    check(converted(mode, "--do_sample"), VENDOR, tensors)


def test_other_weights_would_be_noticed() -> None:
    """What is checked above tells int4 from weights that are not quantised."""
    tensors = dequantised_tensors(TINY, 0, "f16", head="f16")
    with pytest.raises(AssertionError):
        check(build_bmodel(TINY, Form(mode="int4")), TINY, tensors)
