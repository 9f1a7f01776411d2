"""The chain of one answer, on the logits of a real model."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from support import glm_models, sampler_reference

from glmd.daemon.engine.messages import Submit
from glmd.daemon.engine.sampling import Chain, PluginSampler
from glmd.daemon.native._engine import Backend, CancelFlag, Result, Span, Want, draw
from glmd.errors import Code, EngineFailed, InvalidRequest, Unsupported
from glmd.sampler import SamplerContext
from glmd.wire.sampling import Stage

MODEL = glm_models.MODELS["even"]
VOCAB = MODEL.vocab
PROMPT = [5, 6, 7, 5, 6]
ALL = [Want.token, Want.logits]

GREEDY = [Stage("temperature", {"temperature": 0.0})]
RANDOM = [Stage("penalties", {"repeat": 1.3}), Stage("top_p", {"p": 0.9}), Stage("temperature")]


@pytest.fixture(scope="module")
def backend() -> Backend:
    return glm_models.backend(MODEL, "f16", slots=1, max_seq=64)


def submit(stages: list[Stage], **fields: Any) -> Submit:
    return Submit(
        **{
            "id": 1,
            "prompt": PROMPT,
            "choices": [(0, [])],
            "stages": stages,
            "seed": 42,
            "stop_ids": [2],
            "max_tokens": 8,
        }
        | fields
    )


def forward(backend: Backend, ids: list[int], want: Want) -> Result:
    span = Span(0, 0, np.array(ids, np.int32), want)
    return backend.forward([span], CancelFlag())[0]


def answer(backend: Backend, chain: Chain, n: int, forced: list[int] | None = None) -> list[int]:
    """`n` tokens behind the prompt, the first of them forced."""
    ids = PROMPT + (forced or [])
    while len(ids) < len(PROMPT) + n:
        result = forward(backend, ids, chain.want)
        ids.append(chain.sample(result, np.array(ids, np.int32))[0])
    return ids[len(PROMPT) :]


def test_a_greedy_chain_asks_for_the_token_alone(backend: Backend) -> None:
    chain = Chain(submit(GREEDY), 0, vocab=VOCAB, outputs=ALL)
    assert chain.want is Want.token
    with_logits = Chain(submit(GREEDY), 0, vocab=VOCAB, outputs=[Want.logits])
    assert with_logits.want is Want.logits
    assert answer(backend, chain, 10) == answer(backend, with_logits, 10)


def test_log_probabilities_need_logits_even_when_greedy(backend: Backend) -> None:
    chain = Chain(submit(GREEDY, logprobs=2), 0, vocab=VOCAB, outputs=ALL)
    assert chain.want is Want.logits


def test_log_probabilities_are_the_models_own(backend: Backend) -> None:
    """Before the chain, which here leaves another token only."""
    stages = [Stage("logit_bias", {"bias": [[9, 1000.0]]}), *GREEDY]
    chain = Chain(submit(stages, logprobs=3), 0, vocab=VOCAB, outputs=ALL)
    result = forward(backend, PROMPT, Want.logits)
    assert result.logits is not None
    probs = sampler_reference.softmax(result.logits.astype(np.float64))
    token, logprob = chain.sample(result, np.array(PROMPT, np.int32))
    assert token == 9
    assert logprob is not None
    assert logprob.logprob == pytest.approx(np.log(probs[9]), abs=1e-5)
    assert [t for t, _ in logprob.top] == np.argsort(-probs, kind="stable")[:3].tolist()


def test_tokens_are_what_the_reference_draws(backend: Backend) -> None:
    """Stage numbers, token index, choice and history arrive where they belong."""
    stages = [
        Stage("penalties", {"repeat": 1.5, "last_n": -1}),
        Stage("xtc", {"probability": 0.5, "threshold": 0.01}),
        Stage("temperature", {"temperature": 2.0}),
    ]
    chain = Chain(submit(stages), 3, vocab=VOCAB, outputs=ALL)
    ids = list(PROMPT)
    for index in range(12):
        result = forward(backend, ids, Want.logits)
        assert result.logits is not None
        row = sampler_reference.apply(
            [(s.name, s.params) for s in stages], result.logits, ids, seed=42, choice=3, index=index
        )
        u = sampler_reference.uniform(42, 3, index, sampler_reference.DRAW_STAGE)
        expected = int(np.searchsorted(np.cumsum(sampler_reference.softmax(row)), u, side="right"))
        ids.append(chain.sample(result, np.array(ids, np.int32))[0])
        assert ids[-1] == expected


def test_forced_tokens_change_nothing(backend: Backend) -> None:
    """An answer taken up in its middle goes on as it would have."""
    whole = answer(backend, Chain(submit(RANDOM), 0, vocab=VOCAB, outputs=ALL), 12)
    for known in (1, 5, 11):
        chain = Chain(submit(RANDOM), 0, vocab=VOCAB, outputs=ALL)
        assert answer(backend, chain, 12, whole[:known]) == whole


def test_choices_and_seeds_differ(backend: Backend) -> None:
    answers = {
        (choice, seed): tuple(
            answer(
                backend,
                Chain(submit(RANDOM, seed=seed), choice, vocab=VOCAB, outputs=ALL),
                12,
            )
        )
        for choice in (0, 1)
        for seed in (1, 2)
    }
    assert len(set(answers.values())) == 4


def test_a_row_without_numbers_has_no_token() -> None:
    class Nothing:
        token = -1

    result: Any = Nothing()
    chain = Chain(submit(GREEDY), 0, vocab=VOCAB, outputs=ALL)
    with pytest.raises(EngineFailed, match="no logit is a number"):
        chain.sample(result, np.array(PROMPT, np.int32))


def test_stages_nobody_has_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no sampler stage 'mirror'"):
        Chain(submit([Stage("mirror")]), 0, vocab=VOCAB, outputs=ALL)
    with pytest.raises(InvalidRequest, match="p is 2, it must be between 0 and 1"):
        Chain(submit([Stage("top_p", {"p": 2.0})]), 0, vocab=VOCAB, outputs=ALL)


def test_broken_logits_end_the_request(backend: Backend) -> None:
    for broken in (np.nan, np.inf):
        chain = Chain(submit(RANDOM), 0, vocab=VOCAB, outputs=ALL)
        result = forward(backend, PROMPT, Want.logits)
        assert result.logits is not None
        result.logits[7] = broken
        with pytest.raises(EngineFailed, match="No token can be sampled: the logit of token 7 is"):
            chain.sample(result, np.array(PROMPT, np.int32))


class Candidates:
    """What a device's own head gives: no backend on the CPU has one."""

    token = -1
    logits = None
    candidate_ids: ClassVar = np.array([50, 40, 30], np.int32)
    candidate_probs: ClassVar = np.array([0.5, 0.5, 0.0], np.float32)


PENALTY_SAMPLE = [
    Stage("penalties", {"repeat": 1.3, "last_n": 3}),
    Stage("top_k", {"k": 50}),
    Stage("temperature", {"temperature": 0.7}),
    Stage("top_p", {"p": 0.9, "min_keep": 5, "inclusive": False}),
]


def test_candidates_are_drawn_from() -> None:
    outputs = [Want.token, Want.candidates, Want.logits]
    chain = Chain(submit(PENALTY_SAMPLE), 0, vocab=VOCAB, outputs=outputs)
    assert chain.want is Want.candidates
    result: Any = Candidates()
    ids = list(PROMPT)
    for index in range(200):
        token, logprob = chain.sample(result, np.array(ids, np.int32))
        u = sampler_reference.uniform(42, 0, index, sampler_reference.DRAW_STAGE)
        assert token == (50 if u < 0.5 else 40)
        assert logprob is None
        ids.append(token)


def test_logits_are_asked_for_where_the_head_does_something_else() -> None:
    outputs = [Want.token, Want.candidates, Want.logits]
    for stages in (PENALTY_SAMPLE[:2], [*PENALTY_SAMPLE, Stage("min_p", {"p": 0.1})]):
        assert Chain(submit(stages), 0, vocab=VOCAB, outputs=outputs).want is Want.logits
    chain = Chain(submit(PENALTY_SAMPLE, logprobs=1), 0, vocab=VOCAB, outputs=outputs)
    assert chain.want is Want.logits


def test_a_chain_that_needs_logits_is_refused_where_there_are_none() -> None:
    with pytest.raises(Unsupported, match="gives no logits"):
        Chain(submit(RANDOM), 0, vocab=VOCAB, outputs=[Want.token, Want.candidates])


# -- plugin stages --------------------------------------------------------------------------------


class Forbid:
    """Takes the tokens out of play that it has accepted, and one more."""

    name = "forbid"
    replayable = True

    class Params(msgspec.Struct):
        token: int

    def start(self, params: Any, ctx: SamplerContext) -> Forbid.State:
        return self.State(params.token, ctx)

    class State:
        def __init__(self, token: int, ctx: SamplerContext) -> None:
            self.ctx = ctx
            self.out = [token]
            self.histories: list[list[int]] = []

        def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
            assert not history.flags.writeable
            self.histories.append(history.tolist())
            logits[self.out] = -np.inf

        def accept(self, token: int) -> None:
            self.out.append(token)


FORBID = {"forbid": PluginSampler(Forbid())}


def test_a_plugin_stage_stands_where_the_chain_has_it(backend: Backend) -> None:
    """Behind top_k, which leaves the five best: of those one is forbidden, and what was drawn."""
    stages = [Stage("top_k", {"k": 5}), Stage("forbid", {"token": 0}), Stage("temperature")]
    chain = Chain(submit(stages), 0, vocab=VOCAB, outputs=ALL, samplers=FORBID)
    assert chain.want is Want.logits
    result = forward(backend, PROMPT, Want.logits)
    assert result.logits is not None
    best = np.argsort(-result.logits, kind="stable")[:5].tolist()
    ids = list(PROMPT)
    for left in (5, 4, 3):
        result = forward(backend, PROMPT, Want.logits)
        token, _ = chain.sample(result, np.array(ids, np.int32))
        assert token in best
        assert token not in ids[len(PROMPT) :]
        logits = result.logits
        assert logits is not None
        assert np.isfinite(logits).sum() == left - (0 in best)
        ids.append(token)


def test_a_plugin_sees_its_context_history_and_forced_tokens(backend: Backend) -> None:
    class Spy(Forbid):
        name = "spy"
        states: ClassVar[list[Forbid.State]] = []

        def start(self, params: Any, ctx: SamplerContext) -> Forbid.State:
            self.states.append(super().start(params, ctx))
            return self.states[-1]

    chain = Chain(
        submit([Stage("temperature"), Stage("spy", {"token": 3})]),
        1,
        vocab=VOCAB,
        outputs=ALL,
        samplers={"spy": PluginSampler(Spy())},
        vocab_bytes=[b"a"],
    )
    given = answer(backend, chain, 5, [11, 12])
    state = Spy.states[0]
    assert state.ctx == SamplerContext(VOCAB, frozenset([2]), 42, 1, len(PROMPT), [b"a"], 1)
    assert state.histories == [PROMPT + given[:n] for n in (2, 3, 4)]
    assert state.out == [3, *given]


def test_random_stages_around_a_plugin_keep_their_numbers(backend: Backend) -> None:
    """A plugin that does nothing shifts no stage but counts as one."""
    coin = Stage("xtc", {"probability": 0.5, "threshold": 0.0})
    stages = [Stage("forbid", {"token": 0}), coin]
    chain = Chain(submit(stages), 0, vocab=VOCAB, outputs=ALL, samplers=FORBID)
    for index in range(20):
        result = forward(backend, PROMPT, Want.logits)
        chain.sample(result, np.array(PROMPT + [1] * index, np.int32))
        assert result.logits is not None
        tossed = np.isfinite(result.logits).sum() == 1
        assert tossed == (sampler_reference.uniform(42, 0, index, 1) < 0.5)


class Failing(Forbid):
    """Does what its body says."""

    name = "failing"

    def __init__(self, body: str) -> None:
        self.body = body

    def start(self, params: Any, ctx: SamplerContext) -> Failing.State:
        return self.State(self.body)

    class State(Forbid.State):
        def __init__(self, body: str) -> None:
            self.body = body

        def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
            exec(self.body, {"logits": logits, "history": history, "np": np})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("raise KeyError('lost')", "KeyError: 'lost'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("logits[4] = np.nan", "a logit is NaN or"),
        ("logits[4] = np.inf", "a logit is NaN or"),
        ("logits[:] = -np.inf", "none is left above -inf"),
        ("history[0] = 1", "read-only"),
    ],
)
def test_what_a_plugin_does_wrong_ends_its_request_under_its_name(
    backend: Backend, body: str, sentence: str
) -> None:
    chain = Chain(
        submit([Stage("failing", {"token": 0}), *RANDOM]),
        0,
        vocab=VOCAB,
        outputs=ALL,
        samplers={"failing": PluginSampler(Failing(body))},
    )
    with pytest.raises(EngineFailed, match=sentence) as caught:
        chain.sample(forward(backend, PROMPT, Want.logits), np.array(PROMPT, np.int32))
    assert caught.value.code is Code.PLUGIN_ERROR
    assert caught.value.plugin == "failing"


def test_a_plugin_may_say_that_the_request_is_at_fault(backend: Backend) -> None:
    refusing = Failing(
        "from glmd.errors import InvalidRequest; raise InvalidRequest('No such word.')"
    )
    chain = Chain(
        submit([Stage("failing", {"token": 0})]),
        0,
        vocab=VOCAB,
        outputs=ALL,
        samplers={"failing": PluginSampler(refusing)},
    )
    with pytest.raises(InvalidRequest, match=r"No such word\.") as caught:
        chain.sample(forward(backend, PROMPT, Want.logits), np.array(PROMPT, np.int32))
    assert caught.value.plugin is None


def test_a_plugin_is_not_blamed_for_the_models_logits(backend: Backend) -> None:
    stages = [Stage("forbid", {"token": 0})]
    chain = Chain(submit(stages), 0, vocab=VOCAB, outputs=ALL, samplers=FORBID)
    result = forward(backend, PROMPT, Want.logits)
    assert result.logits is not None
    result.logits[0] = np.nan
    with pytest.raises(EngineFailed) as caught:
        chain.sample(result, np.array(PROMPT, np.int32))
    assert caught.value.plugin is None


def test_parameters_a_plugin_cannot_take_are_said_at_the_start() -> None:
    with pytest.raises(InvalidRequest, match="The stage forbid: The field token: expected int"):
        Chain(
            submit([Stage("forbid", {"token": "x"})]),
            0,
            vocab=VOCAB,
            outputs=ALL,
            samplers=FORBID,
        )


def test_a_chain_without_stages_draws_from_the_model(backend: Backend) -> None:
    chain = Chain(submit([]), 0, vocab=VOCAB, outputs=ALL)
    result = forward(backend, PROMPT, Want.logits)
    assert result.logits is not None
    logits = result.logits.copy()
    token, _ = chain.sample(result, np.array(PROMPT, np.int32))
    assert token == draw(logits, seed=42, choice=0, index=0)
