"""What the samplers that ship make of a distribution: χ² against the exact one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glmd.plugins.dynatemp import DynamicTemperature
from glmd.plugins.mirostat import Mirostat
from glmd.plugins.no_repeat_ngram import NoRepeatNgram
from glmd.plugins.quote import Quote
from glmd.sampler import Sampler
from glmd.testing import SamplerHarness, softmax

VOCAB = 24
LOGITS = np.random.default_rng(5).normal(0, 1.2, VOCAB).astype(np.float32)
WORDS = [b""] + [bytes([97 + i]) for i in range(VOCAB - 1)]

Probs = NDArray[np.float64]


def harness(sampler: Sampler) -> SamplerHarness:
    return SamplerHarness(sampler, vocab_bytes=WORDS, stop_ids=[0])


def without(probs: Probs, ids: Any) -> Probs:
    left = probs.copy()
    left[ids] = 0
    return np.asarray(left / left.sum(), np.float64)


# -- mirostat -------------------------------------------------------------------------------------


def within(probs: Probs, bits: float) -> Probs:
    """The tokens that surprise by no more than `bits`, the likeliest in any case."""
    kept = -np.log2(probs) <= bits
    kept[probs.argmax()] = True
    return without(probs, ~kept)


@pytest.mark.parametrize("tau", [0.1, 1.0, 1.7, 5.0])
def test_mirostat_begins_with_twice_its_surprise(tau: float) -> None:
    probs = within(softmax(LOGITS), 2 * tau)
    harness(Mirostat()).check_distribution({"tau": tau}, logits=LOGITS, probs=probs, draws=8000)


def test_mirostat_moves_its_bound_by_what_was_drawn() -> None:
    """Token by token as the paper says, in float64."""
    params = {"tau": 2.0, "eta": 0.3}
    given = harness(Mirostat()).answer(params, logits=LOGITS, length=40, seed=3)
    mu, bounds = 4.0, set()
    for token, row in zip(given.tokens, given.rows, strict=True):
        probs = within(softmax(LOGITS), mu)
        np.testing.assert_allclose(softmax(row), probs, rtol=1e-6)
        mu -= 0.3 * (-np.log2(probs[token]) - 2.0)
        bounds.add(int(np.isfinite(row).sum()))
    assert len(bounds) > 2


def test_mirostat_keeps_to_the_surprise_it_is_told() -> None:
    logits = np.random.default_rng(1).normal(0, 3, VOCAB).astype(np.float32)
    given = harness(Mirostat()).answer({"tau": 1.5}, logits=logits, length=2000, seed=8)
    bits = [-np.log2(softmax(row)[t]) for t, row in zip(given.tokens, given.rows, strict=True)]
    assert np.mean(bits[100:]) == pytest.approx(1.5, abs=0.1)


# -- dynatemp -------------------------------------------------------------------------------------


def cooled(logits: NDArray[np.float32], low: float, high: float, exponent: float) -> Probs:
    probs = softmax(logits)
    used = probs[probs > 0]
    share = -(used * np.log(used)).sum() / np.log(len(used))
    return softmax(logits / (low + (high - low) * share**exponent))


@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("left", [2, 5, VOCAB])
def test_dynatemp_follows_the_entropy(exponent: float, left: int) -> None:
    logits = LOGITS.copy()
    logits[left:] = -np.inf
    params = {"temperature": 1.0, "range": 0.7, "exponent": exponent}
    probs = cooled(logits, 0.3, 1.7, exponent)
    harness(DynamicTemperature()).check_distribution(params, logits=logits, probs=probs, draws=4000)


def test_dynatemp_never_warms_below_nothing() -> None:
    probs = cooled(LOGITS, 0.0, 1.5, 1.0)
    params = {"temperature": 0.5, "range": 1.0}
    harness(DynamicTemperature()).check_distribution(params, logits=LOGITS, probs=probs, draws=4000)


def test_dynatemp_at_zero_is_greedy() -> None:
    found = harness(DynamicTemperature()).answer({"temperature": 0, "range": 0}, logits=LOGITS)
    assert set(found.tokens) == {int(LOGITS.argmax())}
    one = np.full(VOCAB, -np.inf, np.float32)
    one[7] = 3.0
    assert harness(DynamicTemperature()).answer(logits=one, length=1).tokens == [7]


# -- no_repeat_ngram ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_sequence_comes_twice(n: int) -> None:
    few = LOGITS.copy()
    few[6:] = -np.inf
    length = {1: 5, 2: 20, 3: 60}[n]
    flat = harness(NoRepeatNgram())
    tokens = flat.answer({"n": n}, logits=few, length=length, seed=1).tokens
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    assert len(grams) > 3
    assert len(grams) == len(set(grams))


def test_what_would_repeat_is_all_that_is_taken() -> None:
    """After 1 2 3 9 1 2: of all tokens only 3 would complete a sequence that was there."""
    probs = without(softmax(LOGITS), [3])
    harness(NoRepeatNgram()).check_distribution(
        {"n": 3}, logits=LOGITS, probs=probs, forced=[1, 2, 3, 9, 1, 2], draws=4000
    )


def test_the_prompt_may_be_repeated() -> None:
    assert len(harness(NoRepeatNgram()).allowed({"n": 2}, prompt=[1, 2, 3, 1])) == VOCAB


# -- quote ----------------------------------------------------------------------------------------


def test_what_continues_a_passage_gets_the_bonus() -> None:
    """Behind 4 5 the prompt goes on with 6, and elsewhere with 7."""
    raised = LOGITS.copy()
    raised[[6, 7]] += 1.5
    harness(Quote()).check_distribution(
        {"strength": 1.5, "length": 2},
        logits=LOGITS,
        probs=softmax(raised),
        prompt=[0, 4, 5, 6, 8, 4, 5, 7, 0],
        forced=[9, 4, 5],
        draws=4000,
    )


@pytest.mark.parametrize("forced", [[5], [6, 5], [8, 9]])
def test_nothing_is_raised_across_turns_or_without_a_passage(forced: list[int]) -> None:
    """0 ends a turn: 8 9 stands at the end of one, 5 alone is no passage of two."""
    state = harness(Quote()).start(prompt=[0, 4, 5, 6, 8, 9, 0])
    history = np.array([0, 4, 5, 6, 8, 9, 0, *forced], np.int32)
    assert np.array_equal(harness(Quote()).apply(state, LOGITS, history), LOGITS)


def test_a_long_prompt_is_quoted_to_its_end() -> None:
    rng = np.random.default_rng(2)
    words = [b""] + [b"w%d" % i for i in range(4999)]
    prompt = [0, *rng.integers(1, 5000, 32_000).tolist(), 0]
    far = SamplerHarness(Quote(), vocab_bytes=words)
    logits = rng.normal(0, 1, 5000).astype(np.float32)
    begun = prompt[20_000:20_003]
    given = far.answer(
        {"strength": 50, "length": 3}, logits=logits, prompt=prompt, forced=begun, length=43
    )
    assert given.tokens == prompt[20_000:20_043]


# -- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2**63 - 1])
@pytest.mark.parametrize(
    ("sampler", "params"),
    [
        (Mirostat(), {"tau": 1.5, "eta": 0.4}),
        (DynamicTemperature(), {}),
        (NoRepeatNgram(), {"n": 2}),
        (Quote(), {"length": 1}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_an_answer_can_be_had_again_and_taken_up_anywhere(
    sampler: Sampler, params: dict[str, Any], seed: int
) -> None:
    prompt = [0, 3, 4, 5, 3, 6, 0]
    harness(sampler).check_repeatable(params, logits=LOGITS, prompt=prompt, length=30, seed=seed)
