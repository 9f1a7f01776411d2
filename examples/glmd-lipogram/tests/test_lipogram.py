from __future__ import annotations

import numpy as np
from glmd_lipogram import Lipogram

import glmd
from glmd.testing import SamplerHarness, softmax

WORDS = [b"", b"the", b" cat", b"Eel", b" on", b"\xe4\xbd\xa0"]
LOGITS = np.array([0, 3, 1, 2, 1, 0], np.float32)

harness = SamplerHarness(Lipogram(), vocab_bytes=WORDS, stop_ids=[0])


def test_words_with_the_letter_are_out_of_play():
    assert harness.allowed({"letters": "e"}) == {0, 2, 4, 5}
    assert harness.allowed({"letters": "CO"}) == {0, 1, 3, 5}


def test_the_others_stay_as_likely_as_they_were():
    probs = softmax(LOGITS)
    probs[[1, 3]] = 0
    harness.check_distribution({"letters": "e"}, logits=LOGITS, probs=probs / probs.sum())


def test_a_seed_repeats_the_answer():
    harness.check_repeatable({"letters": "e"}, logits=LOGITS)


def test_a_daemon_serves_it(glmd_daemon):
    stage = glmd.Stage("lipogram", {"letters": "e"})
    answer = glmd_daemon.client.chat("What is glmd?", sampling=[stage], seed=1, max_tokens=40)
    assert answer.text
    assert "e" not in answer.text.lower()
