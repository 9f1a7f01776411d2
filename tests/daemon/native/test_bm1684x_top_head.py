"""Tokens sampled from the candidates that the chip picks are those of the whole rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.backends import append
from support.bmodels import SEQ_LENGTH, TINY
from support.engine import DEFAULT, GREEDY, RANDOM, submit
from support.serve_bmodels import serve_bmodel
from support.simulated import Answer, Simulated, Step, simulated

from glmd.daemon.engine.sampling import Chain
from glmd.daemon.native._engine import Want
from glmd.wire.sampling import Stage

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1200),
]

STREAMS = 8
CANDIDATES = 64
ROW_BYTES = 4 * TINY.vocab
CANDIDATE_BYTES = 8 * CANDIDATES


@pytest.fixture(scope="module")
def backend() -> Iterator[Simulated]:
    with simulated(serve_bmodel(TINY, SEQ_LENGTH), slots=STREAMS, trace=True) as backend:
        yield backend


class Stream:
    """A conversation and what chooses its tokens."""

    def __init__(self, slot: int, stages: list[Stage], seed: int) -> None:
        random = np.random.default_rng(seed)
        self.slot = slot
        self.ids = random.integers(0, TINY.vocab, 1 + slot).tolist()
        request = submit(slot, self.ids, stages=stages, seed=seed)
        outputs = [Want.none, Want.token, Want.logits]
        self.chain = Chain(request, 0, vocab=TINY.vocab, outputs=outputs)

    def step(self, *, whole: bool = False) -> Step:
        """The last token that is known."""
        pos = len(self.ids) - 1
        keep = 0 if whole else self.chain.keep
        return Step(self.slot, pos, self.ids[pos:], self.chain.want.name, keep=keep)

    def drawn(self, answer: Answer) -> int:
        result: Any = answer
        return self.chain.sample(result, np.array(self.ids, np.int32))[0]


def begin(backend: Simulated, streams: list[Stream]) -> None:
    for stream in streams:
        append(backend, stream.slot, 0, stream.ids[:-1] or stream.ids, "none")
    backend.call("take_trace")


def spent(backend: Simulated, steps: list[Step]) -> tuple[list[Answer], dict[str, int]]:
    before = backend.call("traffic")
    answers = backend.forward(*steps)
    after = backend.call("traffic")
    return answers, {name: after[name] - before[name] for name in after}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "chains",
    [[DEFAULT], [DEFAULT, GREEDY, RANDOM], [[Stage("top_k", {"k": 63})], DEFAULT]],
    ids=["default", "mixed", "wide"],
)
def test_sampled_tokens_are_those_of_whole_rows(
    backend: Simulated, chains: list[list[Stage]], seed: int
) -> None:
    streams = [Stream(i, chains[i % len(chains)], 10 * seed + i) for i in range(STREAMS)]
    begin(backend, streams)
    picked = 0
    for _ in range(4):
        expected = backend.forward(*(stream.step(whole=True) for stream in streams))
        found = backend.forward(*(stream.step() for stream in streams))
        for stream, one, other in zip(streams, expected, found, strict=True):
            if one.logits is not None and other.logits is not None:
                picked += int((other.logits == -np.inf).any())
            token = stream.drawn(one)
            assert stream.drawn(other) == token
            # What the chain leaves of both is equal to the last bit.
            np.testing.assert_array_equal(one.logits, other.logits)
            stream.ids.append(token)
    assert picked > 0


def test_a_sampled_token_is_512_bytes(backend: Simulated) -> None:
    """Of candidates, in place of a row; all of a step come down together."""
    streams = [Stream(i, DEFAULT, i) for i in range(STREAMS)]
    begin(backend, streams)
    _, whole = spent(backend, [stream.step(whole=True) for stream in streams])
    backend.call("take_trace")
    _, few = spent(backend, [stream.step() for stream in streams])
    ((_, launches),) = backend.call("take_trace")
    assert [net for net, _ in launches[-2:]] == ["lm_head", "top_head"]
    assert (whole["downloads"], whole["downloaded"]) == (STREAMS, STREAMS * ROW_BYTES)
    undecided = few["undecided"]
    assert few["launches"] == whole["launches"] + 1
    assert few["downloads"] == 1 + undecided
    assert few["downloaded"] == STREAMS * CANDIDATE_BYTES + undecided * ROW_BYTES
    assert undecided < STREAMS


def test_guesses_are_judged_by_candidates(backend: Simulated) -> None:
    """Single tokens of one conversation that come together."""
    stream = Stream(3, DEFAULT, 3)
    ids = stream.ids = np.random.default_rng(1).integers(0, TINY.vocab, 12).tolist()
    append(backend, 3, 0, ids[:6], "none")
    steps = [Step(3, pos, ids[pos : pos + 1]) for pos in range(6, 12)]
    whole = backend.forward(*steps)
    found, few = spent(backend, [step._replace(keep=stream.chain.keep) for step in steps])
    for one, other in zip(whole, found, strict=True):
        assert stream.drawn(one) == stream.drawn(other)
    assert few["downloads"] == 1 + few["undecided"]
