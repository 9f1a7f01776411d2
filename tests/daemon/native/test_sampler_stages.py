"""Each stage against the reference: which tokens stay, and with which logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import sampler_reference as reference

from glmd.daemon.native._engine import SamplerChain

Row = NDArray[np.float32]


def run(stages: reference.Stages, logits: Row, history: Any = (), index: int = 0) -> Row:
    chain = SamplerChain(len(logits), stages, seed=11, choice=2)
    row: Row = logits.copy()
    chain.apply(row, np.array(history, np.int32), index)
    return row


def check(stages: reference.Stages, logits: Row, history: Any = (), index: int = 0) -> None:
    got = run(stages, logits, history, index)
    expected = reference.apply(stages, logits, list(history), seed=11, choice=2, index=index)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-6)


def rows(vocab: int = 300) -> list[Row]:
    """Peaked as a language model's, flat, with ties and tokens out of play, and a lone token."""
    random = np.random.default_rng(vocab)
    peaked = random.normal(0, 2, vocab)
    peaked[random.integers(0, vocab, 12)] += 8
    flat = random.normal(0, 0.05, vocab)
    ties = random.integers(-6, 6, vocab) / 2
    ties[random.random(vocab) < 0.3] = -np.inf
    lone = np.full(vocab, -np.inf)
    lone[vocab // 3] = -4.0
    return [row.astype(np.float32) for row in (peaked, flat, ties, lone)]


ROWS = pytest.mark.parametrize("logits", rows(), ids=["peaked", "flat", "ties", "lone"])

HISTORY = [5, 6, 7, 8, 5, 6, 7, 9, 200, 5, 6, 7, 8, 1, 1, 1, 5, 6, 7]


@ROWS
@pytest.mark.parametrize(
    "stage",
    [
        ("logit_bias", {"bias": [(5, 2.5), (6, -1000.0), (299, 0.25)]}),
        ("top_n_sigma", {"n": 0.5}),
        ("top_n_sigma", {"n": 2.0}),
        ("top_k", {"k": 1}),
        ("top_k", {"k": 7}),
        ("top_k", {"k": 299}),
        ("top_k", {"k": 10000}),
        ("typical", {"p": 0.0}),
        ("typical", {"p": 0.3}),
        ("typical", {"p": 0.9}),
        ("typical", {"p": 0.2, "min_keep": 40}),
        ("top_p", {"p": 0.0}),
        ("top_p", {"p": 0.5003}),
        ("top_p", {"p": 0.95}),
        ("top_p", {"p": 0.1, "min_keep": 20}),
        ("top_p", {"p": 0.1, "min_keep": 1000}),
        ("top_p", {"p": 0.9, "inclusive": False}),
        ("top_p", {"p": 0.0, "inclusive": False, "min_keep": 5}),
        ("top_p", {"p": 1.0, "inclusive": False}),
        ("min_p", {"p": 0.05}),
        ("min_p", {"p": 0.97}),
        ("min_p", {"p": 1.0}),
        ("min_p", {"p": 0.9, "min_keep": 6}),
        ("xtc", {"probability": 1.0, "threshold": 0.05}),
        ("xtc", {"probability": 1.0, "threshold": 0.0}),
        ("xtc", {"probability": 1.0, "threshold": 0.0, "min_keep": 1}),
        ("xtc", {"probability": 1.0, "threshold": 0.0, "min_keep": 2}),
        ("xtc", {"probability": 1.0, "threshold": 0.001, "min_keep": 280}),
        ("temperature", {"temperature": 0.0}),
        ("temperature", {"temperature": 0.3}),
        ("temperature", {"temperature": 5.0}),
    ],
    ids=str,
)
def test_stage(logits: Row, stage: tuple[str, dict[str, Any]]) -> None:
    check([stage], logits)


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        (("top_p", {"p": 0.5}), 4),
        (("top_p", {"p": 0.5, "inclusive": False}), 3),
        (("typical", {"p": 0.5}), 5),
        (("min_p", {"p": 1.0}), 8),
        (("top_n_sigma", {"n": 1.0}), 8),
        (("xtc", {"probability": 1.0, "threshold": 0.125}), 1),
        (("temperature", {"temperature": 0.0}), 1),
    ],
    ids=str,
)
def test_a_share_that_is_met_exactly(stage: tuple[str, dict[str, Any]], kept: int) -> None:
    """Eight equal tokens: four hold exactly one half."""
    logits = np.zeros(8, np.float32)
    check([stage], logits)
    assert np.isfinite(run([stage], logits)).sum() == kept


@ROWS
@pytest.mark.parametrize("last_n", [-1, 0, 1, 3, 4, 19, 20, 1000])
def test_penalties_look_back_last_n(logits: Row, last_n: int) -> None:
    stage = {"repeat": 1.3, "frequency": 0.4, "presence": -0.2, "last_n": last_n}
    check([("penalties", stage)], logits, HISTORY)


@ROWS
@pytest.mark.parametrize("last_n", [-1, 0, 1, 3, 4, 11, 19, 20, 1000])
@pytest.mark.parametrize("allowed_length", [0, 1, 2, 3, 4, 50])
@pytest.mark.parametrize(
    "breakers", [[], [[7]], [[8]], [[1, 5], [1]], [[6, 7], [6, 7, 9]]], ids=str
)
def test_dry(logits: Row, last_n: int, allowed_length: int, breakers: list[list[int]]) -> None:
    stage = {"multiplier": 0.7, "last_n": last_n, "allowed_length": allowed_length}
    check([("dry", {**stage, "breakers": breakers})], logits, HISTORY)


@pytest.mark.parametrize("seed", range(40))
def test_dry_on_random_texts_of_few_words(seed: int) -> None:
    random = np.random.default_rng(seed)
    words = int(random.integers(1, 5))
    history = random.integers(0, words, int(random.integers(0, 60))).tolist()
    breakers = [random.integers(0, words, n).tolist() for n in random.integers(1, 4, 2)]
    stage = {
        "multiplier": 1.0,
        "base": 1.1,
        "allowed_length": int(random.integers(0, 5)),
        "last_n": int(random.integers(-1, 50)),
        "breakers": breakers if seed % 2 else [],
    }
    check([("dry", stage)], np.linspace(-1, 1, 6, dtype=np.float32), history)


def test_dry_penalises_what_would_prolong_the_repetition() -> None:
    """The text ends in 1 2 3, which stood before 4 once: three tokens, two of them allowed."""
    logits = np.zeros(10, np.float32)
    row = run([("dry", {"multiplier": 0.5, "base": 2.0})], logits, [1, 2, 3, 4, 0, 1, 2, 3])
    assert row[4] == -1.0  # 0.5 * 2 ** (3 - 2)
    assert np.count_nonzero(row) == 1


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("vocab", [50, 3000])
def test_random_chains(seed: int, vocab: int) -> None:
    """Any stages in any order, so that every stage also works behind a cut."""
    random = np.random.default_rng(seed)
    logits = rows(vocab)[seed % 3]
    history = random.integers(0, vocab, 40).tolist()
    choices: list[tuple[str, dict[str, Any]]] = [
        ("logit_bias", {"bias": [(int(i), 1.5) for i in random.integers(0, vocab, 5)]}),
        ("penalties", {"repeat": 1.2, "presence": 0.3, "last_n": 20}),
        ("dry", {"multiplier": 0.8, "allowed_length": 1, "last_n": -1}),
        ("top_n_sigma", {"n": float(random.uniform(1, 4))}),
        ("top_k", {"k": int(random.integers(2, vocab))}),
        ("typical", {"p": float(random.uniform(0.2, 1))}),
        ("top_p", {"p": float(random.uniform(0.2, 1)), "min_keep": int(random.integers(0, 9))}),
        ("min_p", {"p": float(random.uniform(0, 0.2))}),
        ("xtc", {"probability": 0.5, "threshold": float(random.uniform(0, 0.2))}),
        ("temperature", {"temperature": float(random.uniform(0.5, 2))}),
    ]
    picked = random.permutation(len(choices))[: int(random.integers(1, len(choices) + 1))]
    check([choices[i] for i in picked], logits, history, index=seed)


@pytest.mark.parametrize(
    "stage",
    [
        ("top_k", {"k": 50}),
        ("top_k", {"k": 40000}),
        ("top_p", {"p": 0.9}),
        ("typical", {"p": 0.9}),
        ("min_p", {"p": 0.02}),
        ("top_n_sigma", {"n": 1.0}),
        ("xtc", {"probability": 1.0, "threshold": 0.00002}),
    ],
    ids=str,
)
def test_the_whole_vocabulary(stage: tuple[str, dict[str, Any]]) -> None:
    for logits in rows(65024):
        check([stage], logits)


def test_stages_that_are_switched_off_change_nothing() -> None:
    off: reference.Stages = [
        ("logit_bias", {}),
        ("penalties", {}),
        ("penalties", {"repeat": 2.0, "last_n": 0}),
        ("dry", {}),
        ("dry", {"multiplier": 1.0, "last_n": 0}),
        ("top_n_sigma", {}),
        ("top_k", {"k": 0}),
        ("typical", {}),
        ("top_p", {"p": 1.0}),
        ("min_p", {}),
        ("xtc", {}),
        ("xtc", {"probability": 1.0, "threshold": 0.51}),
        ("temperature", {"temperature": 1.0}),
    ]
    for logits in rows():
        np.testing.assert_array_equal(run(off, logits, HISTORY), logits)
