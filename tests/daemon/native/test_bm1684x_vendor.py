"""Bmodels that the vendor's llm_convert.py makes (its final norm repaired) answer as their
checkpoint, whichever head it gives them."""

from __future__ import annotations

import numpy as np
import pytest
from support.backends import continued, reference
from support.simulated import greedy, simulated
from support.vendor import VENDOR, VENDOR_SEED, VENDOR_SEQ_LENGTH, converted

pytestmark = [pytest.mark.needs("tpu_mlir"), pytest.mark.slow, pytest.mark.timeout(1200)]

TOKENS = 40


@pytest.mark.parametrize("options", [(), ("--do_sample",)], ids=["token-head", "do-sample"])
def test_greedy_tokens_in_f16(options: tuple[str, ...]) -> None:
    engine = reference(VENDOR, VENDOR_SEED, VENDOR_SEQ_LENGTH)
    with simulated(converted("f16", *options), slots=2, vocab=VENDOR.vocab) as backend:
        outputs = backend.call("facts")["outputs"]
        for slot in range(2):
            prompt = np.random.default_rng(slot).integers(0, VENDOR.vocab, 20).tolist()
            made = greedy(backend, slot, prompt, TOKENS)
            assert made == continued(engine, prompt, TOKENS)
    assert ("logits" in outputs) == bool(options)
