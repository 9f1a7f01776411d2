"""Eight conversations at once through the serve recipe are as each alone through the seed recipe,
on the simulator: of different lengths, begun at different times, with turns that go on where the
last one ended. The CPU backend is a third witness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.backends import Engine, continued, on_cpu, reference
from support.bmodels import SEQ_LENGTH, SHAPES, TINY, Form, build_bmodel
from support.checkpoints import NANO
from support.conversations import Conversation, check_alone, serve
from support.nano_bmodels import SERVE_LENGTH, nano_seed, nano_serve
from support.serve_bmodels import serve_bmodel
from support.simulated import simulated

from glmd.chat import Message
from glmd.daemon.chat.prompt import join, render
from glmd.daemon.tokenizer.tokenizer import Tokenizer

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(2700),
]

# Tokens of the two questions, and of each answer. The shortest net of a prompt takes 16, behind
# others too, so that 17 are two pieces of it, and at the beginning the next longer net.
LENGTHS = [
    (1, 4, 4),
    (16, 2, 5),
    (17, 1, 3),
    (5, 17, 3),
    (9, 6, 6),
    (13, 3, 5),
    (20, 3, 3),
    (3, 9, 8),
]


def random_conversations(vocab: int, longer: int) -> list[Conversation]:
    random = np.random.default_rng(1)

    def question(n: int) -> list[int]:
        return [int(i) for i in random.integers(0, vocab, n)]

    return [
        Conversation(
            [question(longer * first), question(longer * second)],
            [answer, answer],
            start=int(random.integers(0, 6)),
        )
        for first, second, answer in LENGTHS
    ]


# What two people say, and the tokens of the answers; of the names each is to hear its own.
SAID = [
    ("I am Anna", "who am I", 3, 6),
    ("I'm Bob", "who am I", 2, 6),
    ("我叫小明", "我叫什么", 4, 7),
    ("我叫小红", "我叫什么名字", 3, 7),
    ("hello", "你是谁", 5, 4),
    ("我住在北京", "我住哪里", 2, 6),
    ("how are you", "thanks", 4, 3),
    ("I live in Rome", "where do I live", 2, 3),
]


def nano_conversations() -> list[Conversation]:
    tokenizer = Tokenizer.load(NANO)

    def ids(said: str) -> list[int]:
        return join(tokenizer, render(tokenizer, [Message("user", said)], []))

    begun = len(join(tokenizer, [])) - 1  # a dialogue has its beginning once
    return [
        Conversation(
            [ids(first), ids(second)[begun:]],
            answers,
            start=2 * number % 5,
            stops=tokenizer.stop_ids,
        )
        for number, (first, second, *answers) in enumerate(SAID)
    ]


def serve_all(model: Path, all: Sequence[Conversation]) -> set[str]:
    """Which passes it took."""
    with simulated(model, slots=len(all), trace=True) as backend:
        serve(backend, all)
        traffic, steps = backend.call("traffic"), backend.call("take_trace")
    assert (traffic["copies"], traffic["relocated"]) == (0, 0)
    return {name for name, _ in steps}


def check_each(engine: Engine, all: Sequence[Conversation], witness: str) -> None:
    ties = [check_alone(engine, one) for one in all]
    tokens = sum(len(answer) for one in all for answer in one.made)
    print(f"{tokens} tokens, of which {sum(ties)} are ties by {witness}")
    assert sum(ties) <= 0.05 * tokens


# The shape, positions, and those of the seed recipe, and the seed of the weights.
RANDOM = {
    "tiny": (TINY, SEQ_LENGTH, SEQ_LENGTH, 0),
    "one-group": (SHAPES["one-group"], SEQ_LENGTH, 64, 3),
    "32k": (SHAPES["32k"], 64, 64, 3),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_shapes(name: str) -> None:
    shape, length, seed_length, seed = RANDOM[name]
    all = random_conversations(shape.vocab, length // SEQ_LENGTH)
    passes = serve_all(serve_bmodel(shape, length, seed=seed), all)
    assert passes >= {f"prefill {length}", "chunk 16", "decode 8", "decode 4"}
    with simulated(build_bmodel(shape, Form(seq_length=seed_length), seed), slots=1) as alone:
        check_each(alone, all, "the seed recipe")
    check_each(reference(shape, seed, length), all, "the CPU")


def test_glm3_nano() -> None:
    all = nano_conversations()
    passes = serve_all(nano_serve(), all)
    assert passes >= {"chunk 16", "decode 8"}
    with simulated(nano_seed(), slots=1) as alone:
        check_each(alone, all, "the seed recipe")
    check_each(on_cpu(NANO, SERVE_LENGTH), all, "the CPU")


def test_a_wrong_token_is_noticed() -> None:
    engine = reference(TINY, 0, SEQ_LENGTH)
    made = continued(engine, [5, 6, 7], 4)
    one = Conversation([[5, 6, 7]], [4], 0, prompts=[[5, 6, 7]], made=[made])
    assert check_alone(engine, one) == 0
    made[2] += 1
    with pytest.raises(AssertionError, match=f"token {made[2]} is .* behind {made[2] - 1}"):
        check_alone(engine, one)
