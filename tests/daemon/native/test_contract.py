"""What the scheduler relies on, whichever backend it is: see engine.h."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.backends import SLOTS, Engine, append, bm1684x_engine, cpu_engine
from support.bmodels import SEQ_LENGTH, TINY, Form, build_bmodel
from support.serve_bmodels import serve_bmodel
from support.simulated import Refused, Step

COMPILED = pytest.mark.needs("tpu_mlir", "export")

BMODELS: dict[str, Callable[[], Path]] = {
    "shifted": lambda: build_bmodel(TINY, Form()),
    "rows": lambda: build_bmodel(TINY, Form(rows=True, addr_mode="io_alone")),
    "serve": lambda: serve_bmodel(TINY, SEQ_LENGTH),
}
ENGINES = [
    pytest.param(None, id="cpu"),
    *(pytest.param(made, id=f"bm1684x-{name}", marks=COMPILED) for name, made in BMODELS.items()),
]

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module", params=ENGINES)
def loaded(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made: Callable[[], Path] | None = request.param
    opened: AbstractContextManager[Engine] = (
        cpu_engine(SEQ_LENGTH) if made is None else bm1684x_engine(made())
    )
    with opened as engine:
        yield engine


@pytest.fixture
def engine(loaded: Engine) -> Engine:
    """With empty slots."""
    for slot in range(SLOTS):
        loaded.call("release", slot)
    return loaded


def ids(n: int, seed: int = 0) -> list[int]:
    return [int(i) for i in np.random.default_rng(seed).integers(0, TINY.vocab, n)]


def logits(engine: Engine, slot: int, pos: int, tokens: list[int]) -> NDArray[np.float32]:
    found = append(engine, slot, pos, tokens, "logits").logits
    assert found is not None
    return found


def lengths(engine: Engine) -> list[int]:
    return [engine.call("length", slot) for slot in range(SLOTS)]


def test_facts(engine: Engine) -> None:
    facts = engine.call("facts")
    assert (facts["slots"], facts["max_seq"], facts["vocab"]) == (SLOTS, SEQ_LENGTH, TINY.vocab)
    assert {"none", "token", "logits"} <= set(facts["outputs"])


def test_lengths_follow_the_spans(engine: Engine) -> None:
    append(engine, 0, 0, ids(7), "none")
    append(engine, 2, 0, ids(20), "none")
    assert lengths(engine) == [7, 0, 20]
    append(engine, 0, 7, ids(3), "none")
    engine.forward(Step(2, 5, ids(1), "none"))
    assert lengths(engine) == [10, 0, 6]
    engine.call("truncate", 0, 4)
    engine.call("release", 2)
    assert lengths(engine) == [4, 0, 0]
    assert engine.forward() == []


def test_a_result_holds_what_was_wanted(engine: Engine) -> None:
    nothing = append(engine, 0, 0, ids(5), "none")
    assert (nothing.token, nothing.logits) == (-1, None)
    row = logits(engine, 0, 5, ids(1))
    assert (row.dtype, row.shape) == (np.float32, (TINY.vocab,))


@pytest.mark.parametrize("keep", [1, 50, 63, 64, 400])
def test_the_logits_that_matter_are_all_there(engine: Engine, keep: int) -> None:
    """In one step where that can be."""
    together = engine.call("facts")["prefill"] != "from_zero"

    def rows(keep: int) -> list[NDArray[np.float32]]:
        for slot in range(SLOTS):
            append(engine, slot, 0, ids(4 + slot, seed=slot), "none")
        steps = [Step(slot, 4 + slot, ids(1), keep=keep) for slot in range(SLOTS)]
        calls = [steps] if together else [[step] for step in steps]
        found = [answer.logits for call in calls for answer in engine.forward(*call)]
        return [row for row in found if row is not None]

    for whole, row in zip(rows(0), rows(keep), strict=True):
        least = np.sort(whole)[-min(keep, len(whole))]
        np.testing.assert_array_equal(row[whole >= least], whole[whole >= least])
        others = row != -np.inf
        np.testing.assert_array_equal(row[others], whole[others])


@pytest.mark.parametrize("prompt", [1, 2, 17, SEQ_LENGTH])
def test_a_token_is_the_most_likely_one(engine: Engine, prompt: int) -> None:
    chosen = append(engine, 0, 0, ids(prompt), "token").token
    assert chosen == logits(engine, 1, 0, ids(prompt)).argmax()


def test_a_prompt_at_once_is_the_prompt_token_by_token(engine: Engine) -> None:
    tokens = ids(12)
    at_once = logits(engine, 0, 0, tokens)
    for pos, token in enumerate(tokens):
        answer = engine.forward(Step(1, pos, [token]))[0]
    one_by_one = answer.logits
    assert one_by_one is not None
    assert np.abs(at_once - one_by_one).max() < 0.01 * np.abs(at_once).max()


def test_conversations_do_not_see_each_other(engine: Engine) -> None:
    """The same conversations alone, then in turns."""

    def turn(slot: int, pos: int) -> NDArray[np.float32]:
        return logits(engine, slot, pos, ids(1, seed=100 * slot + pos))

    alone = []
    for slot in range(SLOTS):
        append(engine, slot, 0, ids(4 + slot, seed=slot), "none")
        alone.append([turn(slot, 4 + slot + i) for i in range(5)])
    for slot in range(SLOTS):
        append(engine, slot, 0, ids(4 + slot, seed=slot), "none")
    for i in range(5):
        for slot in range(SLOTS):
            np.testing.assert_array_equal(turn(slot, 4 + slot + i), alone[slot][i])


def test_a_copy_goes_on_like_its_source(engine: Engine) -> None:
    append(engine, 0, 0, ids(10), "none")
    append(engine, 1, 0, ids(20, seed=9), "none")
    engine.call("copy_prefix", 0, 1, 6)
    assert lengths(engine) == [10, 6, 0]
    copied = logits(engine, 1, 6, ids(3, seed=1))
    assert engine.call("length", 0) == 10
    np.testing.assert_array_equal(logits(engine, 0, 6, ids(3, seed=1)), copied)


def test_a_saved_conversation_goes_on_in_another_slot(engine: Engine) -> None:
    append(engine, 0, 0, ids(10), "none")
    each = engine.call("facts")["saved_bytes"]
    if each == 0:
        with pytest.raises(Refused, match="has its slots in host memory"):
            engine.call("save", 0)
        return
    saved = engine.call("save", 0)
    assert saved.nbytes == 10 * each
    fresh = logits(engine, 0, 10, ids(1, seed=1))
    append(engine, 0, 0, ids(20, seed=9), "none")
    append(engine, 2, 0, ids(3, seed=8), "none")
    engine.call("restore", 2, saved)
    assert lengths(engine) == [20, 0, 10]
    np.testing.assert_array_equal(logits(engine, 2, 10, ids(1, seed=1)), fresh)


def test_a_truncated_slot_forgets(engine: Engine) -> None:
    append(engine, 0, 0, ids(6), "none")
    fresh = logits(engine, 0, 6, ids(1, seed=1))
    append(engine, 0, 7, ids(9, seed=2), "none")
    engine.call("truncate", 0, 6)
    np.testing.assert_array_equal(logits(engine, 0, 6, ids(1, seed=1)), fresh)
    np.testing.assert_array_equal(logits(engine, 0, 6, ids(1, seed=1)), fresh)


def test_a_released_slot_serves_the_next_conversation(engine: Engine) -> None:
    fresh = logits(engine, 1, 0, ids(5))
    append(engine, 0, 0, ids(SEQ_LENGTH, seed=3), "none")
    engine.call("release", 0)
    np.testing.assert_array_equal(logits(engine, 0, 0, ids(5)), fresh)


def test_a_slot_is_filled_to_the_last_position(engine: Engine) -> None:
    append(engine, 0, 0, ids(SEQ_LENGTH - 1), "none")
    assert np.isfinite(logits(engine, 0, SEQ_LENGTH - 1, ids(1))).all()
    assert engine.call("length", 0) == SEQ_LENGTH
    with pytest.raises(Refused, match=f"which holds {SEQ_LENGTH}"):
        engine.forward(Step(0, SEQ_LENGTH, ids(1)))


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (Step(3, 0, [1]), "slot 3"),
        (Step(-1, 0, [1]), "slot -1"),
        (Step(0, 11, [1]), "has only 10"),
        (Step(0, -1, [1]), "position -1"),
        (Step(1, 0, [1] * (SEQ_LENGTH + 1)), f"which holds {SEQ_LENGTH}"),
        (Step(0, 10, []), "no tokens"),
        (Step(0, 10, [TINY.vocab]), f"token id {TINY.vocab}"),
        (Step(0, 10, [-1]), "token id -1"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    engine: Engine, step: Step, sentence: str
) -> None:
    append(engine, 0, 0, ids(10), "none")
    with pytest.raises(Refused, match=sentence) as caught:
        engine.forward(step)
    assert (caught.value.call, caught.value.status) == ("forward", 0)
    assert lengths(engine) == [10, 0, 0]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (("length", 3), "no slot 3"),
        (("release", -1), "no slot -1"),
        (("truncate", 0, 11), "not 11"),
        (("truncate", 0, -1), "not -1"),
        (("copy_prefix", 0, 0, 5), "itself"),
        (("copy_prefix", 0, 1, 11), "not 11"),
        (("copy_prefix", 0, 4, 5), "no slot 4"),
    ],
)
def test_the_other_calls_are_checked_too(
    engine: Engine, call: tuple[str, int], sentence: str
) -> None:
    append(engine, 0, 0, ids(10), "none")
    with pytest.raises(Refused, match=sentence) as caught:
        engine.call(*call)
    assert caught.value.call == call[0]


@pytest.mark.parametrize(
    "step", [Step(0, 10, [5]), Step(0, 4, [5]), Step(0, 0, [5, 6, 7])], ids=["on", "cut", "anew"]
)
def test_a_cancelled_step_leaves_slots_as_they_were(engine: Engine, step: Step) -> None:
    append(engine, 0, 0, ids(10), "none")
    append(engine, 1, 0, ids(10), "none")
    with pytest.raises(Refused) as caught:
        engine.forward(step, cancelled=True)
    assert caught.value.cancelled
    assert lengths(engine) == [10, 10, 0]
    np.testing.assert_array_equal(logits(engine, 0, 10, [7]), logits(engine, 1, 10, [7]))
