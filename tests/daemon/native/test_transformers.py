"""Live against transformers' GlmForCausalLM, with other weights than the golden ones."""

from __future__ import annotations

import numpy as np
import pytest
from support import glm_models, transformers_glm
from support.glm_models import MODELS

pytestmark = pytest.mark.needs("torch")


@pytest.mark.parametrize("name", MODELS)
def test_f16_logits(name: str) -> None:
    model = MODELS[name]
    made = glm_models.tensors(model, seed=7)
    ids = glm_models.tokens(90, model.vocab, seed=8)
    wanted = transformers_glm.logits(transformers_glm.build(model, made), ids)
    got = glm_models.logits(glm_models.backend(model, made=made), ids)
    assert np.abs(got - wanted).max() <= 2e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("kind", ["int8", "int4g32", "int4g64"])
def test_quantised_logits(kind: str) -> None:
    model = MODELS["wide-heads"]
    made = glm_models.tensors(model, seed=9)
    _, meant = glm_models.pack(made, kind)
    ids = glm_models.tokens(90, model.vocab, seed=10)
    wanted = transformers_glm.logits(transformers_glm.build(model, meant), ids)
    got = glm_models.logits(glm_models.backend(model, kind, made=made), ids)
    norms = np.linalg.norm(wanted, axis=-1) * np.linalg.norm(got, axis=-1)
    assert ((wanted * got).sum(axis=-1) / norms).min() >= 0.999
