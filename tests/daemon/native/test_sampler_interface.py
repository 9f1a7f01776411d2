"""What the compiled sampler takes and refuses, and what it says of itself."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

from glmd.daemon.engine.stages import BUILTIN
from glmd.daemon.native._engine import SamplerChain, draw, stage_parameters, top_logprobs

NOTHING = np.zeros(0, np.int32)


def chain(name: str, **params: Any) -> SamplerChain:
    return SamplerChain(100, [(name, params)], seed=0, choice=0)


def test_both_tables_of_stages_are_the_same() -> None:
    here = {
        stage: {name: (p.type, p.default) for name, p in parameters.items()}
        for stage, parameters in BUILTIN.items()
    }
    assert stage_parameters() == here
    assert list(stage_parameters()) == list(BUILTIN)


def bounds() -> list[tuple[str, str, float, float]]:
    return [
        (stage, name, p.low, p.high)
        for stage, parameters in BUILTIN.items()
        for name, p in parameters.items()
        if p.type in {"int", "float"}
    ]


@pytest.mark.parametrize(("stage", "name", "low", "high"), bounds())
def test_both_tables_have_the_same_bounds(stage: str, name: str, low: float, high: float) -> None:
    number = type(BUILTIN[stage][name].default)
    for allowed in (low, high):
        chain(stage, **{name: number(allowed)})
    step = 1 if number is int else 1e-4
    for outside in (low - step, high + step):
        with pytest.raises(ValueError, match=f"{name} is .*, it must be between"):
            chain(stage, **{name: number(outside)})


@pytest.mark.parametrize(
    ("stage", "params", "sentence"),
    [
        ("topk", {}, 'there is no sampler stage "topk"; the built-in ones are logit_bias, '),
        ("top_k", {"n": 3}, 'stage "top_k" has no parameter "n"; it has k'),
        ("top_k", {"k": "3"}, "stage \"top_k\": k must be int, not '3'"),
        ("top_k", {"k": 3.0}, 'stage "top_k": k must be int, not 3.0'),
        ("top_k", {"k": True}, 'stage "top_k": k must be int, not True'),
        ("top_k", {"k": 10**30}, 'stage "top_k": k must be int, not 1000'),
        ("top_p", {"p": None}, 'stage "top_p": p must be float, not None'),
        ("top_p", {"p": float("nan")}, "p is nan, it must be between 0 and 1"),
        ("top_p", {"inclusive": 1}, "inclusive must be bool, not 1"),
        ("logit_bias", {"bias": {5: 1.0}}, r"bias must be list\[tuple\[int, float\]\]"),
        ("logit_bias", {"bias": [(100, 1.0)]}, "names token 100, outside the vocabulary of 100"),
        ("logit_bias", {"bias": [(1, 1e4)]}, "bias is 10000, it must be between -1000 and 1000"),
        ("dry", {"breakers": [1]}, r"breakers must be list\[list\[int\]\], not \[1\]"),
        ("dry", {"breakers": [[]]}, "breakers holds an empty sequence"),
    ],
)
def test_wrong_stages_are_refused_in_a_sentence(
    stage: str, params: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        chain(stage, **params)


def test_an_int_is_a_float_too() -> None:
    row = np.array([2.0, 4.0], np.float32)
    SamplerChain(2, [("temperature", {"temperature": 2})], seed=0, choice=0).apply(row, NOTHING, 0)
    assert row.tolist() == [1.0, 2.0]


def test_logits_are_changed_in_place_or_not_at_all() -> None:
    """A copy made on the way in would be changed in vain, so nothing is converted."""
    stage = chain("top_k", k=1)
    good = np.zeros(100, np.float32)
    for logits, history in (
        (good.astype(np.float64), NOTHING),
        (np.zeros(200, np.float32)[::2], NOTHING),
        (good.tolist(), NOTHING),
        (good, NOTHING.astype(np.int64)),
        (good, []),
    ):
        with pytest.raises(TypeError):
            stage.apply(logits, history, 0)  # type: ignore[arg-type]
    for logits in (np.zeros((1, 100), np.float32), np.zeros(99, np.float32)):
        with pytest.raises(ValueError, match="logits"):
            stage.apply(logits, NOTHING, 0)
    with pytest.raises(ValueError, match="history must be one-dimensional"):
        stage.apply(good, np.zeros((1, 1), np.int32), 0)
    frozen = good.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        stage.apply(frozen, NOTHING, 0)
    assert draw(frozen, seed=0, choice=0, index=0) < 100
    stage.apply(good, NOTHING, 0)
    assert np.isfinite(good).sum() == 1


@pytest.mark.parametrize(
    ("logits", "sentence"),
    [
        ([0.0, np.nan], "the logit of token 1 is NaN"),
        ([np.inf, 0.0], r"the logit of token 0 is \+inf"),
        ([-np.inf, -np.inf], "no token is left"),
    ],
)
def test_rows_that_cannot_be_sampled_from(logits: list[float], sentence: str) -> None:
    row = np.array(logits, np.float32)
    with pytest.raises(ValueError, match=sentence):
        draw(row, seed=0, choice=0, index=0)
    with pytest.raises(ValueError, match=sentence):
        top_logprobs(row, 0, 1)
    with pytest.raises(ValueError, match=sentence):
        SamplerChain(2, [], seed=0, choice=0).apply(row, NOTHING, 0)


def test_an_empty_row_is_refused() -> None:
    with pytest.raises(ValueError, match="no token is left"):
        draw(np.zeros(0, np.float32), seed=0, choice=0, index=0)


def test_a_history_outside_the_vocabulary_is_refused() -> None:
    for stage in (chain("penalties", repeat=2.0), chain("dry", multiplier=1.0, allowed_length=0)):
        with pytest.raises(ValueError, match="the history holds token 100, outside"):
            stage.apply(np.zeros(100, np.float32), np.array([1, 100, 2], np.int32), 0)


def test_top_logprobs() -> None:
    logits = np.random.default_rng(2).normal(0, 3, 65024).astype(np.float32)
    logits[7] = logits[9] = 20.0
    logits[11] = -np.inf
    exact = logits.astype(np.float64)
    exact -= exact.max() + np.log(np.exp(exact - exact.max()).sum())
    logprob, top = top_logprobs(logits, 1234, 20)
    assert logprob == pytest.approx(exact[1234], abs=1e-6)
    assert [token for token, _ in top] == np.argsort(-exact, kind="stable")[:20].tolist()
    assert [value for _, value in top] == pytest.approx(sorted(exact)[::-1][:20], abs=1e-6)
    assert top_logprobs(logits, 11, 0) == (-np.inf, [])
    assert len(top_logprobs(logits, 0, 10**6)[1]) == 65023
    for token, k in ((65024, 1), (-1, 1), (0, -1)):
        with pytest.raises(ValueError, match=r"outside the vocabulary|must not be negative"):
            top_logprobs(logits, token, k)


def test_other_threads_run_while_a_chain_does() -> None:
    """Without time slices a thread gets on only when another gives the interpreter lock away, so
    that else all of the work would be done before anybody could say that it is enough."""
    vocab = 1 << 19
    row = np.random.default_rng(0).normal(0, 1, vocab).astype(np.float32)
    stages = SamplerChain(vocab, [("typical", {"p": 0.5}), ("top_p", {})], seed=0, choice=0)
    begun, enough = threading.Event(), threading.Event()
    runs = 0

    def work() -> None:
        nonlocal runs
        begun.set()
        while runs < 100 and not enough.is_set():
            stages.apply(row.copy(), NOTHING, runs)
            draw(row, seed=0, choice=0, index=runs)
            runs += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    thread = threading.Thread(target=work)
    try:
        thread.start()
        begun.wait()
        enough.set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert runs < 100
