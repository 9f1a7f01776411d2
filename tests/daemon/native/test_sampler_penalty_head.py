"""The preset penalty_sample against the vendor's penalty_sample_head, re-implemented in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support import sampler_reference as reference

from glmd.daemon.native._engine import SamplerChain
from glmd.daemon.request.sampling import resolve
from glmd.wire.sampling import Sampling

VOCAB = 65024


def head(
    logits: NDArray[np.float32],
    input_ids: NDArray[np.int32],
    top_p: float,
    temperature: float,
    penalty: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Probabilities and ids of the 50 candidates, and the cumulative shares the cut looks at."""
    scores = logits.astype(np.float64)
    seen = scores[input_ids]
    scores[input_ids] = np.where(seen < 0, seen * penalty, seen / penalty)
    ids = np.argsort(-scores, kind="stable")[:50]
    top = scores[ids] / temperature
    shares = np.cumsum(reference.softmax(top))
    kept = shares < top_p
    kept[:5] = True
    return reference.softmax(np.where(kept, top, -1000.0)), ids, shares


@pytest.mark.parametrize("penalty", [1.0, 1.2, 2.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("length", "last_n"), [(3, 32), (40, 32), (40, 5)])
def test_the_preset_is_the_head(
    penalty: float, temperature: float, top_p: float, length: int, last_n: int
) -> None:
    random = np.random.default_rng(length * last_n)
    logits = random.normal(-1, 2, VOCAB).astype(np.float32)
    logits[random.integers(0, VOCAB, 30)] += 9
    # Half of the text is what the model would say again, so that the penalty has work to do.
    history = random.permutation(
        np.concatenate([np.argsort(-logits)[: length // 2], random.integers(0, VOCAB, length)])
    )[-length:].astype(np.int32)

    recent = history[-last_n:]
    padded = np.concatenate([recent, np.full(512 - len(recent), recent[-1], np.int32)])
    probs, ids, shares = head(logits, padded, top_p, temperature, penalty)
    assert np.abs(shares - top_p).min() > 1e-6  # no share so close that rounding decides

    resolved = resolve(
        Sampling(
            preset="penalty_sample",
            top_p=top_p,
            temperature=temperature,
            repeat_penalty=penalty,
            repeat_last_n=last_n,
        ),
        {"token", "logits"},
        vocab=VOCAB,
        breakers=[],
    )
    chain = SamplerChain(VOCAB, [(s.name, s.params) for s in resolved.stages], seed=0, choice=0)
    row = logits.copy()
    chain.apply(row, history, 0)

    expected = np.zeros(VOCAB)
    expected[ids] = probs
    np.testing.assert_array_equal(np.isfinite(row), expected > 0)
    np.testing.assert_allclose(reference.softmax(row.astype(np.float64)), expected, atol=1e-6)
