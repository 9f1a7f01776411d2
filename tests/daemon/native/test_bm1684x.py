"""The BM1684X backend on the simulator: every form of bmodel answers as its checkpoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.backends import continued, reference
from support.bmodels import SEQ_LENGTH, SHAPES, TINY, Form, build_bmodel
from support.simulated import Refused, Step, greedy, simulated, simulator_folder

from glmd.bmodel.features import read_features
from glmd.bmodel.reader import read_bmodel
from glmd.daemon.native._engine import SamplerChain

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

FORMS = {
    "shifted": Form(),
    "rows": Form(rows=True),
    "batch-first-io-alone": Form(rows=True, batch_first=True, addr_mode="io_alone"),
    "shifted-io-alone": Form(addr_mode="io_alone"),
    "shifted-io-reloc": Form(addr_mode="io_reloc"),
    "rows-io-reloc": Form(rows=True, addr_mode="io_reloc"),
    "token-head": Form(head="token"),
    "no-heads": Form(head="bare"),
    "sample-head": Form(head="sample"),
    "old": Form(old=True),
}
PROMPT = [5, 6, 7, 8, 9]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_tokens_of_its_checkpoint(name: str) -> None:
    form = FORMS[name]
    model = build_bmodel(TINY, form)
    n = SEQ_LENGTH - len(PROMPT)
    with simulated(model, slots=2, vocab=TINY.vocab) as backend:
        assert greedy(backend, 0, PROMPT, n) == continued(reference(TINY, 0, SEQ_LENGTH), PROMPT, n)
        facts, traffic = backend.call("facts"), backend.call("traffic")
    # Nothing is copied by us, and by libbmrt only where the form has it so.
    assert traffic["copies"] == 0
    assert (traffic["relocated"] == 0) == (form.addr_mode == "io_reloc")
    # What the file says of itself before a chip is touched is what libbmrt says of it.
    features = read_features(read_bmodel(model))
    assert (features.layers, features.seq_length) == (facts["layers"], facts["max_seq"])
    assert (features.vocab, features.devices) == (facts["vocab"], facts["devices"])
    assert (features.width.kv_heads, features.width.head_dim) == (
        facts["kv_heads"],
        facts["head_dim"],
    )
    assert ("logits" in facts["outputs"]) == (features.output == "logits")
    heads = {"penalty_sample_head", "sample_head"} & set(features.heads)
    assert ("candidates" in facts["outputs"]) == bool(heads)


@pytest.mark.parametrize("name", SHAPES)
def test_random_shapes_in_f16(name: str) -> None:
    """As many tokens as fit, chosen on the chip and on the CPU."""
    shape, form = SHAPES[name], Form(seq_length=64)
    prompt = [int(i) for i in np.random.default_rng(7).integers(0, shape.vocab, 20)]
    with simulated(build_bmodel(shape, form, seed=3), slots=1) as backend:
        made = greedy(backend, 0, prompt, 40)
    assert made == continued(reference(shape, 3, 64), prompt, 40)


def test_the_penalty_head_is_the_preset() -> None:
    """The chip's candidates are those that the sampler's stages leave of the logits."""
    history = [5, 6, 7, 8, 9, 9, 100]
    with simulated(build_bmodel(TINY, Form()), slots=1) as backend:
        logits = backend.one(0, 0, PROMPT, "logits").logits
        head = (0.7, 0.9, 1.3, history)
        found = backend.one(0, 0, PROMPT, "candidates", head=head)
        again = backend.one(0, 0, PROMPT, "candidates", head=(0.7, 0.9, 1.3, []))
    assert logits is not None
    expected = logits.copy()
    chain = SamplerChain(
        TINY.vocab,
        [
            ("penalties", {"repeat": 1.3, "last_n": -1}),
            ("top_k", {"k": 50}),
            ("temperature", {"temperature": 0.7}),
            ("top_p", {"p": 0.9, "min_keep": 5, "inclusive": False}),
        ],
        seed=0,
        choice=0,
    )
    chain.apply(expected, np.array(history, np.int32), 0)
    shares = np.exp(expected - expected.max())
    shares /= shares.sum()
    kept = found.probs > 1e-6
    assert set(found.ids[kept]) == set(np.flatnonzero(shares))
    np.testing.assert_allclose(found.probs[kept], shares[found.ids[kept]], rtol=2e-3)
    assert not np.array_equal(found.probs, again.probs)  # without history there is no penalty


def test_slots_are_gone_round_without_copies() -> None:
    with simulated(build_bmodel(TINY, Form(rows=True)), slots=2) as backend:
        for slot in (0, 1):
            backend.one(slot, 0, PROMPT, "none")
            backend.one(slot, len(PROMPT), [1], "none")
        before = backend.call("traffic")
        for pos in range(6, 10):
            for slot in (0, 1):
                backend.one(slot, pos, [pos], "token")
        after = backend.call("traffic")
    spent = {name: (after[name] - before[name]) / 8 for name in after}
    # Two layers, embedding and two heads; an id and a mask's entry up, an id down.
    assert (spent["launches"], spent["uploads"], spent["uploaded"]) == (5, 2, 6)
    assert (spent["downloads"], spent["downloaded"], spent["copies"]) == (1, 4, 0)


def test_a_step_is_one_span() -> None:
    with simulated(build_bmodel(TINY, Form()), slots=2) as backend:
        with pytest.raises(Refused, match="a step of this bmodel is one span, not 2"):
            backend.forward(Step(0, 0, [1]), Step(1, 0, [1]))
        backend.one(0, 0, [1], "none")
        with pytest.raises(Refused, match="this bmodel takes one at a time there"):
            backend.forward(Step(0, 1, [1, 2]))


def test_no_vocabulary_is_made_up() -> None:
    model = build_bmodel(TINY, Form(head="token"))
    with pytest.raises(Refused, match="the tokenizer has to say"), simulated(model, slots=1):
        pass


def test_the_bench_counts_launches_and_bytes() -> None:
    script = ROOT / "bench" / "bm1684x" / "traffic.py"
    model = build_bmodel(TINY, Form(rows=True))
    command = [sys.executable, "-I", str(script), str(model), str(simulator_folder())]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500).stdout
    (header,) = (line.split() for line in told.splitlines() if "launches" in line)
    (found,) = (line for line in told.splitlines() if line.startswith("token: token "))
    token = dict(zip(header, map(float, found.split()[2:]), strict=True))
    # Embedding, layers, head, greedy head; an id and an entry of the mask; an id.
    assert token["launches"] == TINY.layers + 3
    assert (token["uploads"], token["uploaded"]) == (2, 4 + 2)
    assert (token["downloads"], token["downloaded"]) == (1, 4)
    assert token["copies"] == 0
