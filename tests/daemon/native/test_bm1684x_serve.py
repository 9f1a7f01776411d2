"""The serve recipe on the simulator: conversations together are as each alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from support.backends import append, continued, reference
from support.bmodels import SEQ_LENGTH, TINY, Form, build_bmodel
from support.checkpoints import Shape
from support.serve_bmodels import serve_bmodel
from support.simulated import Simulated, Step, simulated

from glmd.bmodel.features import read_features
from glmd.bmodel.reader import read_bmodel

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

SHAPES = {
    "tiny": TINY,
    "many-heads": Shape(layers=2, hidden=128, heads=8, head_dim=32, ffn=160, vocab=352),
    "one-group": Shape(layers=3, hidden=96, heads=3, kv_heads=1, head_dim=64, ffn=128, vocab=320),
}
CONVERSATIONS = 8
ANSWER = 4


@dataclass
class Conversation:
    """`turns`: ids of the questions; `start`: the step in which the first is asked. `expected`: the
    answers when nobody else is there."""

    turns: list[list[int]]
    start: int
    expected: list[list[int]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    done: int = 0  # of the ids, on the chip
    made: list[list[int]] = field(default_factory=list)

    def ask(self) -> bool:
        """Whether there is another turn; its question is then among the ids."""
        if len(self.made) == len(self.turns):
            return False
        self.ids += self.turns[len(self.made)]
        self.made.append([])
        return True

    def answer(self, token: int) -> None:
        self.ids.append(token)
        self.made[-1].append(token)


def conversations(shape: Shape, seed: int) -> list[Conversation]:
    random = np.random.default_rng(seed)

    def question(n: int) -> list[int]:
        return [int(i) for i in random.integers(0, shape.vocab, n)]

    lengths = [(1 + 2 * i, 1 + i % 4) for i in range(CONVERSATIONS)]
    return [
        Conversation([question(first), question(second)], start=int(random.integers(0, 5)))
        for first, second in lengths
    ]


def alone(shape: Shape, seed: int, one: Conversation) -> list[list[int]]:
    """On the CPU, each turn from the beginning."""
    engine = reference(shape, seed, SEQ_LENGTH)
    ids: list[int] = []
    answers = []
    for turn in one.turns:
        ids += turn
        answers.append(continued(engine, ids, ANSWER))
        ids += answers[-1]
    return answers


def serve(backend: Simulated, all: list[Conversation]) -> None:
    """Questions as they come, a piece a step beside all decodes; the last token of an answer is
    computed with the next question."""
    waiting = dict(enumerate(all))
    for step in range(200):
        steps, slots = [], []
        for slot, one in list(waiting.items()):
            if step < one.start:
                continue
            if (not one.made or len(one.made[-1]) == ANSWER) and not one.ask():
                del waiting[slot]
                continue
            steps.append(Step(slot, one.done, one.ids[one.done :], "token"))
            slots.append(slot)
        if not waiting:
            return
        for slot, found in zip(slots, backend.forward(*steps) if steps else [], strict=True):
            all[slot].done = len(all[slot].ids)
            all[slot].answer(found.token)
    raise AssertionError("conversations that do not end")


@pytest.mark.parametrize("name", SHAPES)
def test_eight_conversations_are_as_each_alone(name: str) -> None:
    shape = SHAPES[name]
    all = conversations(shape, seed=1)
    with simulated(serve_bmodel(shape, SEQ_LENGTH), slots=CONVERSATIONS) as backend:
        serve(backend, all)
        traffic = backend.call("traffic")
    for one in all:
        assert one.made == alone(shape, 0, one)
    assert (traffic["copies"], traffic["relocated"]) == (0, 0)


def test_the_seed_recipe_answers_the_same() -> None:
    all = conversations(TINY, seed=2)
    with simulated(serve_bmodel(TINY, SEQ_LENGTH), slots=CONVERSATIONS) as backend:
        serve(backend, all)
    with simulated(build_bmodel(TINY, Form()), slots=1) as backend:
        for one in all:
            ids: list[int] = []
            for turn, made in zip(one.turns, one.made, strict=True):
                ids += turn
                assert continued(backend, ids, ANSWER) == made
                ids += made


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
