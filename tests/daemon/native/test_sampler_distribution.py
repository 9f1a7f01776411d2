"""Each stage, and chains of them, drawn from 20,000 times: χ² against the exact distribution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from support import sampler_reference as reference

from glmd.daemon.native._engine import SamplerChain, draw

DRAWS = 20_000
VOCAB = 24
HISTORY = [3, 4, 5, 3, 4, 5, 9, 3, 4]

# With the seeds fixed the tests are deterministic; a p-value this low is a fault, not bad luck.
IMPLAUSIBLE = 1e-4

LOGITS = np.random.default_rng(5).normal(0, 1.2, VOCAB).astype(np.float32)


def counts(stages: reference.Stages, seed: int) -> NDArray[np.int64]:
    chain = SamplerChain(VOCAB, stages, seed=seed, choice=0)
    history = np.array(HISTORY, np.int32)
    found = np.zeros(VOCAB, np.int64)
    for index in range(DRAWS):
        row = LOGITS.copy()
        chain.apply(row, history, index)
        found[draw(row, seed=seed, choice=0, index=index)] += 1
    return found


def p_value(found: NDArray[np.int64], probs: NDArray[np.float64]) -> float:
    """Of Pearson's χ²; tokens expected fewer than five times share a bin."""
    expected = probs * found.sum()
    rare = expected < 5
    observed = np.append(found[~rare], found[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    used = expected > 0
    return float(stats.chisquare(observed[used], expected[used]).pvalue) if used.sum() > 1 else 1.0


CHAINS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "none": [],
    "logit_bias": [("logit_bias", {"bias": [(0, 1.5), (1, -1.0)]})],
    "penalties": [("penalties", {"repeat": 1.5, "frequency": 0.3, "presence": 0.2})],
    "dry": [("dry", {"multiplier": 1.0})],
    "top_n_sigma": [("top_n_sigma", {"n": 1.5})],
    "top_k": [("top_k", {"k": 6})],
    "typical": [("typical", {"p": 0.6})],
    "top_p": [("top_p", {"p": 0.8})],
    "top_p below": [("top_p", {"p": 0.8, "inclusive": False})],
    "min_p": [("min_p", {"p": 0.2})],
    "xtc": [("xtc", {"probability": 0.4, "threshold": 0.08})],
    "xtc twice": [("xtc", {"probability": 0.5, "threshold": 0.1})] * 2,
    "temperature": [("temperature", {"temperature": 1.7})],
    "argmax": [("temperature", {"temperature": 0.0})],
    "default": [("top_k", {}), ("top_p", {}), ("temperature", {})],
    "all": [
        ("logit_bias", {"bias": [(0, 0.5)]}),
        ("penalties", {"repeat": 1.1}),
        ("dry", {"multiplier": 0.3}),
        ("top_n_sigma", {"n": 3.0}),
        ("top_k", {"k": 16}),
        ("typical", {"p": 0.97}),
        ("top_p", {"p": 0.95}),
        ("min_p", {"p": 0.02}),
        ("xtc", {"probability": 0.3, "threshold": 0.12}),
        ("temperature", {"temperature": 0.9}),
    ],
}


@pytest.mark.parametrize("seed", [1, 2**63 - 1])
@pytest.mark.parametrize("name", CHAINS)
def test_draws_follow_the_distribution(name: str, seed: int) -> None:
    probs = reference.outcomes(CHAINS[name], LOGITS, HISTORY)
    found = counts(CHAINS[name], seed)
    assert found[probs == 0].sum() == 0
    assert p_value(found, probs) > IMPLAUSIBLE


def test_a_long_row_is_drawn_from_all_over() -> None:
    """8,192 tokens, more than one block of the sum, in 64 groups of growing weight."""
    logits = np.repeat(np.log(np.arange(1, 65, dtype=np.float32)), 128)
    found = np.zeros(64, np.int64)
    for index in range(DRAWS):
        found[draw(logits, seed=3, choice=0, index=index) // 128] += 1
    assert p_value(found, np.arange(1, 65) / np.arange(1, 65).sum()) > IMPLAUSIBLE


def test_streams_of_different_keys_are_independent() -> None:
    """Pairs of draws under neighbouring keys fill their table as independent ones do."""
    row = np.zeros(8, np.float32)

    def table(first: Any, second: Any) -> NDArray[np.int64]:
        pairs = np.zeros((8, 8), np.int64)
        for index in range(DRAWS):
            pairs[draw(row, **first(index)), draw(row, **second(index))] += 1
        return pairs

    def one(i: int) -> dict[str, int]:
        return {"seed": 9, "choice": 0, "index": i}

    for other in (
        lambda i: {"seed": 10, "choice": 0, "index": i},
        lambda i: {"seed": 9 + (1 << 32), "choice": 0, "index": i},
        lambda i: {"seed": 9, "choice": 1, "index": i},
        lambda i: {"seed": 9, "choice": 0, "index": i + 1},
        lambda i: {"seed": 9, "choice": i, "index": 0},
    ):
        found = table(one, other)
        assert stats.chi2_contingency(found).pvalue > IMPLAUSIBLE


def test_the_stages_of_a_chain_draw_independently() -> None:
    """Three coins in one chain, and the final draw: 16 combinations, all as likely."""
    logits = np.log(np.array([0.25, 0.25, 0.25, 0.25], np.float32))
    history = np.zeros(0, np.int32)
    found: dict[tuple[bool, ...], int] = {}
    coins = [
        SamplerChain(
            4,
            [("xtc", {"probability": 0.5, "threshold": 0.2})],
            seed=4,
            choice=0,
            first_stage=stage,
        )
        for stage in range(3)
    ]
    for index in range(DRAWS):
        outcome = []
        for coin in coins:
            row = logits.copy()
            coin.apply(row, history, index)
            outcome.append(bool(np.isinf(row).any()))
        outcome.append(draw(logits, seed=4, choice=0, index=index) < 2)
        found[tuple(outcome)] = found.get(tuple(outcome), 0) + 1
    assert len(found) == 16
    assert stats.chisquare(list(found.values())).pvalue > IMPLAUSIBLE
