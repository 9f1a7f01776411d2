"""How many of the greatest logits decide what a chain does."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.engine import submit

from glmd.daemon.engine.sampling import Chain, PluginSampler
from glmd.daemon.native._engine import Want
from glmd.sampler import SamplerContext
from glmd.wire.sampling import Stage

VOCAB = 320
PROMPT = [5, 6, 7, 5, 6]


class Mine:
    """A plugin's sampler."""

    name = "mine"
    replayable = True
    Params = msgspec.defstruct("Params", [])

    def start(self, params: Any, ctx: SamplerContext) -> Mine:
        return self

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        """Changes nothing."""


class Row:
    """A result as a backend gives it."""

    token = -1

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.logits = logits


def made(stages: list[Stage], **fields: Any) -> Chain:
    return Chain(
        submit(1, PROMPT, stages=stages, **fields),
        0,
        vocab=VOCAB,
        outputs=[Want.logits],
        samplers={"mine": PluginSampler(Mine())},
    )


@pytest.mark.parametrize(
    ("stages", "keep"),
    [
        ([Stage("top_k"), Stage("top_p"), Stage("temperature")], 50),
        ([Stage("top_k", {"k": 7}), Stage("mine")], 7),
        ([Stage("penalties"), Stage("logit_bias"), Stage("dry"), Stage("top_k", {"k": 7})], 7),
        ([Stage("top_k", {"k": 0}), Stage("top_k", {"k": 9}), Stage("top_k", {"k": 7})], 9),
        ([Stage("min_p"), Stage("typical"), Stage("xtc"), Stage("top_k", {"k": 7})], 7),
        ([Stage("temperature", {"temperature": 1.0}), Stage("top_k", {"k": 7})], 7),
        ([Stage("temperature", {"temperature": 0.0}), Stage("mine")], 1),
        ([], 0),
        ([Stage("top_k", {"k": 0}), Stage("top_p"), Stage("temperature")], 0),
        # These look at more: what they do to a token, or how many they leave, depends on others.
        ([Stage("mine"), Stage("top_k")], 0),
        ([Stage("temperature"), Stage("top_k")], 0),
        ([Stage("top_p"), Stage("top_k")], 0),
        ([Stage("top_n_sigma", {"n": 1.0}), Stage("top_k")], 0),
        ([Stage("logit_bias", {"bias": [[9, 1.0]]}), Stage("top_k")], 0),
        ([Stage("penalties", {"repeat": 1.1}), Stage("top_k")], 0),
        ([Stage("dry", {"multiplier": 0.8}), Stage("top_k")], 0),
    ],
)
def test_how_many_logits_a_chain_looks_at(stages: list[Stage], keep: int) -> None:
    assert made(stages).keep == keep
    assert made(stages, logprobs=0).keep == 0


@settings(max_examples=300, deadline=None)
@given(
    st.permutations(
        [
            Stage("top_k", {"k": 5}),
            Stage("top_p", {"p": 0.7}),
            Stage("min_p", {"p": 0.1}),
            Stage("typical", {"p": 0.8}),
            Stage("xtc", {"probability": 0.5}),
            Stage("penalties", {"repeat": 1.2}),
            Stage("temperature", {"temperature": 0.7}),
            Stage("penalties"),
        ]
    ),
    st.integers(0, 7),
    st.sampled_from([2, 9, 1000]),
    st.integers(0, 2**32),
)
def test_what_a_chain_does_not_look_at_changes_nothing(
    stages: list[Stage], n: int, levels: int, seed: int
) -> None:
    """On rows with many equal logits and with few; what has been said is likely."""
    row = np.random.default_rng(seed).integers(-levels, levels, VOCAB).astype(np.float32)
    row *= 5 / levels
    row[PROMPT] = row.max()
    chain = made(stages[:n], seed=seed)
    few = row.copy()
    if chain.keep:
        few[few < np.sort(row)[-chain.keep]] = -np.inf
    history = np.array(PROMPT, np.int32)
    whole: Any = Row(row)
    rest: Any = Row(few)
    assert chain.sample(rest, history) == chain.sample(whole, history)
    np.testing.assert_array_equal(few, row)
