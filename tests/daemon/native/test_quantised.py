"""What quantised products cost: logits against the dequantised weights in double precision.

The packed weights are taken as they are, so this measures the quantisation of activations.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support import glm_models, glm_reference
from support.glm_models import MODELS

KINDS = ("int8", "int4g32", "int4g64")


def log_softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = rows - rows.max(axis=-1, keepdims=True)
    out: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_against_the_dequantised_weights(name: str, kind: str) -> None:
    model = MODELS[name]
    made = glm_models.tensors(model)
    _, meant = glm_models.pack(made, kind)
    ids = glm_models.tokens(100, model.vocab, seed=3)

    wanted = glm_reference.logits(model, meant, ids)
    got = glm_models.logits(glm_models.backend(model, kind, made=made), ids).astype(np.float64)

    norms = np.linalg.norm(wanted, axis=-1) * np.linalg.norm(got, axis=-1)
    cosine = (wanted * got).sum(axis=-1) / norms
    p, q = log_softmax(wanted), log_softmax(got)
    kl = (np.exp(p) * (p - q)).sum(axis=-1)
    same = (wanted.argmax(axis=-1) == got.argmax(axis=-1)).mean()
    print(
        f"\n{name} {kind}: cosine ≥ {cosine.min():.6f}, KL mean {kl.mean():.1e} "
        f"max {kl.max():.1e} nats, top-1 equal {same:.0%}"
    )
    assert cosine.min() >= 0.999
    assert kl.mean() <= 2e-3
