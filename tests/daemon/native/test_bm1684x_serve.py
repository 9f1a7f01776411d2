"""The serve recipe on the simulator: what a bmodel of it can do, and what a step takes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.backends import append
from support.bmodels import SEQ_LENGTH, TINY
from support.serve_bmodels import serve_bmodel
from support.simulated import Simulated, Step, simulated

from glmd.bmodel.features import read_features
from glmd.bmodel.reader import read_bmodel

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

CONVERSATIONS = 8


@pytest.fixture(scope="module")
def tiny() -> Iterator[Simulated]:
    model = serve_bmodel(TINY, SEQ_LENGTH)
    with simulated(model, slots=CONVERSATIONS, trace=True) as backend:
        yield backend


def test_the_file_says_what_libbmrt_says(tiny: Simulated) -> None:
    features = read_features(read_bmodel(serve_bmodel(TINY, SEQ_LENGTH)))
    facts = tiny.call("facts")
    assert (features.layers, features.seq_length) == (facts["layers"], facts["max_seq"])
    assert (features.vocab, features.devices) == (facts["vocab"], facts["devices"])
    assert list(features.decodes) == facts["decode_batches"] == [1, 2, 4, 8]
    assert list(features.chunks) == facts["chunk_lengths"] == [16]
    assert sorted({*features.prefill, *features.chunks}) == facts["prefill_lengths"]
    assert facts["prefill"] == "chunks"


def test_a_step_is_one_launch_a_layer_for_all(tiny: Simulated) -> None:
    for slot in range(CONVERSATIONS):
        append(tiny, slot, 0, [5, 6, 7], "none")
    tiny.forward(*(Step(slot, 3, [8], "token") for slot in range(7)))
    tiny.call("take_trace")
    before = tiny.call("traffic")
    tiny.forward(*(Step(slot, 4, [9], "token") for slot in range(7)))
    after = tiny.call("traffic")
    (step,) = tiny.call("take_trace")
    launched = ["embedding", "decode8_0", "decode8_1", "lm_head", "greedy_head"]
    assert step == ("decode 8", [(net, 8) for net in launched])
    spent = {name: after[name] - before[name] for name in after}
    assert (spent["launches"], spent["uploads"], spent["downloads"]) == (5, 1, 1)
    # Ids, positions and masks from the first that changed to the last; seven ids come down.
    assert spent["uploaded"] == 2 * 128 + 2 * (6 * (SEQ_LENGTH + 1) + 4)
    assert (spent["downloaded"], spent["copies"], spent["relocated"]) == (28, 0, 0)


def test_guesses_are_verified_in_one_pass(tiny: Simulated) -> None:
    """Single tokens of one conversation, each with its answer, as if they came one by one."""
    ids = [int(i) for i in np.random.default_rng(3).integers(0, TINY.vocab, 12)]
    expected = [append(tiny, 0, 0, ids[:n], "token").token for n in range(6, 13)]
    append(tiny, 1, 0, ids[:5], "none")
    tiny.call("take_trace")
    found = tiny.forward(*(Step(1, pos, [ids[pos]], "token") for pos in range(5, 12)))
    assert [one.token for one in found] == expected
    ((name, launches),) = tiny.call("take_trace")
    assert (name, launches[-1]) == ("chunk 16", ("greedy_head", 8))
