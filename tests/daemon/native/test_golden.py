"""The F16 backend against golden outputs of transformers' GlmForCausalLM (see make_golden.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import glm_models, glm_reference
from support.glm_models import MODELS

from glmd.daemon.native import _engine as native

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 2e-3  # of the largest |logit|


def load(name: str) -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", MODELS)
def test_logits_of_a_prompt(name: str) -> None:
    golden = load(name)
    engine = glm_models.backend(MODELS[name])
    got = glm_models.logits(engine, golden["prompt"])[golden["rows"]]
    error = np.abs(got - golden["logits"]).max() / np.abs(golden["logits"]).max()
    assert error <= TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_greedy_tokens_are_equal_except_at_ties(name: str) -> None:
    golden = load(name)
    prompt, greedy = golden["prompt"], golden["greedy"]
    engine = glm_models.backend(MODELS[name])
    cancel = native.CancelFlag()

    def step(pos: int, ids: NDArray[np.int32]) -> int:
        (result,) = engine.forward([native.Span(0, pos, ids, native.Want.token)], cancel)
        return result.token

    token = step(0, prompt)
    for i, wanted in enumerate(greedy):
        if token != wanted:
            among = np.flatnonzero(golden["top_ids"][i] == token)
            assert among.size == 1, f"step {i}: {token} is not near the top"
            gap = golden["top_logits"][i][0] - golden["top_logits"][i][among[0]]
            assert gap <= TOLERANCE * golden["largest"][i], f"step {i}: {token} for {wanted}"
        # The oracle's token is the next input, so that one tie does not end the comparison.
        token = step(len(prompt) + i, greedy[i : i + 1])


@pytest.mark.parametrize("name", MODELS)
def test_the_numpy_reference_agrees_too(name: str) -> None:
    golden = load(name)
    model = MODELS[name]
    got = glm_reference.logits(model, glm_models.tensors(model), golden["prompt"])[golden["rows"]]
    error = np.abs(got - golden["logits"]).max() / np.abs(golden["logits"]).max()
    assert error <= 1e-4
