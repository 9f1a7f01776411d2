"""The harness does what the daemon does, and finds what is wrong with a sampler."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from glmd.daemon.engine.messages import Submit
from glmd.daemon.engine.sampling import Chain, PluginSampler
from glmd.daemon.native._engine import Result, Want
from glmd.plugins.mirostat import Mirostat
from glmd.sampler import Sampler, SamplerContext
from glmd.testing import SamplerHarness, softmax
from glmd.wire.sampling import Stage

VOCAB = 300
LOGITS = np.random.default_rng(2).normal(0, 2, VOCAB).astype(np.float32)
WORDS = [b"%d" % i for i in range(VOCAB)]
PROMPT = [5, 6, 7]


class Plain(Sampler):
    """Changes nothing; the base of those that do something wrong."""

    name = "plain"

    def start(self, params: Any, ctx: SamplerContext) -> Any:
        return self

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        pass


def harness(sampler: Sampler) -> SamplerHarness:
    return SamplerHarness(sampler, vocab_bytes=WORDS, stop_ids=[2])


class Given:
    """What a backend answers."""

    def __init__(self) -> None:
        self.logits = LOGITS.copy()


@pytest.mark.parametrize("choice", [0, 2])
def test_it_draws_what_the_daemon_draws(choice: int) -> None:
    submit = Submit(
        id=1,
        prompt=PROMPT,
        choices=[(choice, [])],
        stages=[Stage("mirostat", {"tau": 3.0})],
        seed=99,
        stop_ids=[2],
        max_tokens=60,
    )
    mirostat = Mirostat()
    chain = Chain(
        submit,
        choice,
        vocab=VOCAB,
        outputs=[Want.logits],
        samplers={"mirostat": PluginSampler(mirostat)},
    )
    ids = list(PROMPT)
    for _ in range(60):
        result: Any = Given()
        token, _ = chain.sample(_as_result(result), np.array(ids, np.int32))
        ids.append(token)
        if token == 2:
            break
    given = harness(mirostat).answer(
        {"tau": 3.0}, logits=LOGITS, prompt=PROMPT, length=60, seed=99, choice=choice
    )
    assert given.tokens == ids[3:]


def _as_result(given: Any) -> Result:
    return given


def test_a_sampler_that_does_nothing_draws_from_the_model() -> None:
    harness(Plain()).check_distribution(logits=LOGITS, probs=softmax(LOGITS), draws=5000)
    assert harness(Plain()).allowed() == set(range(VOCAB))
    assert harness(Plain()).check_repeatable(logits=LOGITS).saved == [None] * 16


def test_logits_may_follow_from_the_history() -> None:
    def next_of(history: NDArray[np.int32]) -> NDArray[np.float32]:
        row = np.full(VOCAB, -np.inf, np.float32)
        row[history[-1] + 1] = 0
        return row

    assert harness(Plain()).answer(logits=next_of, prompt=[7], length=3).tokens == [8, 9, 10]
    assert harness(Plain()).answer(logits=next_of, prompt=[0], length=9).tokens == [1, 2]


def test_another_distribution_is_found() -> None:
    class Warm(Plain):
        def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
            logits /= 1.15

    with pytest.raises(AssertionError, match="plain: 5000 draws do not follow"):
        harness(Warm()).check_distribution(logits=LOGITS, probs=softmax(LOGITS), draws=5000)


def test_numbers_of_its_own_are_found() -> None:
    random = np.random.default_rng(0)

    class Careless(Plain):
        def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
            logits += random.normal(0, 3, VOCAB).astype(np.float32)

    with pytest.raises(AssertionError, match="the same seed gave another answer"):
        harness(Careless()).check_repeatable(logits=LOGITS)


def test_a_state_that_is_not_saved_is_found() -> None:
    class Forgetful(Plain):
        """Counts its calls, which a replay does not make again."""

        def start(self, params: Any, ctx: SamplerContext) -> Any:
            started = Forgetful()
            started.calls = 0
            return started

        calls = 0

        def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
            self.calls += 1
            logits[self.calls] += 100

    with pytest.raises(AssertionError, match="taken up behind token 1 the answer is another"):
        harness(Forgetful()).check_repeatable(logits=LOGITS)

    class Honest(Forgetful):
        replayable = False

    harness(Honest()).check_repeatable(logits=LOGITS)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_nothing_can_be_drawn_from_are_found(bad: float) -> None:
    class Bad(Plain):
        def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
            logits[3] = bad

    with pytest.raises(ValueError, match="NaN or"):
        harness(Bad()).answer(logits=LOGITS)


def test_the_history_cannot_be_written_and_parameters_are_checked() -> None:
    class Rude(Plain):
        def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
            history[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        harness(Rude()).answer(logits=LOGITS)
    with pytest.raises(msgspec.ValidationError, match="tau"):
        harness(Mirostat()).start({"tau": "high"})
