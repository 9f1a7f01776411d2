"""A cancelled request is gone wherever it was, and leaves nothing behind."""

from __future__ import annotations

import pytest
from support.engine import EngineChild, prompt, submit

from glmd.daemon.engine.messages import Cancel, Failed, Prefilled, Step, Token

LONG = prompt(1500, seed=7)


@pytest.fixture
def expected(fresh: EngineChild) -> list[int]:
    """What the question that follows each cancelled request is answered with."""
    answer = fresh.run(submit(1, LONG, 12, seed=3))[1, 0]
    fresh.events.clear()
    return answer


def heard_of(child: EngineChild, id: int) -> bool:
    return any(
        (isinstance(e, Prefilled | Failed) and e.id == id)
        or (isinstance(e, Step) and any(token.id == id for token in e.tokens))
        for e in child.events
    )


def test_before_it_begins(child: EngineChild) -> None:
    child.send(submit(1, prompt(30), 50), Cancel(1))
    child.run(submit(2, prompt(30), 5))
    assert not heard_of(child, 1)


def test_while_it_waits_for_a_slot(fresh: EngineChild) -> None:
    running = [submit(i, prompt(20, seed=i), 2000) for i in range(1, 5)]
    fresh.send(*running, submit(9, prompt(20), 50))
    fresh.until(Step, lambda step: len(step.tokens) == 4)
    fresh.send(Cancel(9), *(Cancel(request.id) for request in running))
    fresh.run(submit(10, prompt(20), 5))
    assert not heard_of(fresh, 9)


def test_in_prefill(fresh: EngineChild, expected: list[int]) -> None:
    other = prompt(1800, seed=8)
    fresh.send(submit(2, other, 50))
    fresh.until(Prefilled, lambda e: e.id == 2 and e.done < e.total)
    fresh.send(Cancel(2))
    assert fresh.run(submit(3, LONG, 12))[3, 0] == expected
    # What was computed of the cancelled prompt is right, and good for the next who asks the same.
    first = fresh.run(submit(4, other, 12))[4, 0]
    assert 0 < fresh.cached(4) < 1800
    assert fresh.run(submit(5, other, 12, seed=4))[5, 0] == first


def test_in_decode(fresh: EngineChild, expected: list[int]) -> None:
    fresh.send(submit(2, LONG, 500))
    fresh.until(Step, lambda step: any(token.id == 2 for token in step.tokens))
    fresh.send(Cancel(2))
    assert fresh.run(submit(3, LONG, 12))[3, 0] == expected


def test_its_neighbours_go_on(fresh: EngineChild) -> None:
    quiet = fresh.run(submit(1, prompt(40), 60))[1, 0]
    fresh.send(submit(2, prompt(40), 60, seed=1), submit(3, prompt(50, seed=2), 500))
    fresh.until(Step, lambda step: any(token.id == 3 for token in step.tokens))
    fresh.send(Cancel(3))
    assert ids(fresh.answers(2)[2, 0]) == quiet


def ids(tokens: list[Token]) -> list[int]:
    return [token.token for token in tokens]


def test_one_choice_of_several(fresh: EngineChild) -> None:
    choices = [(i, []) for i in range(3)]
    whole = fresh.run(submit(1, prompt(40), 200, choices=choices))
    # Longer than it takes to hear of the first token, however quick the engine is.
    fresh.send(submit(2, prompt(40), 2000, seed=1, choices=choices))
    fresh.until(Step, lambda step: any((t.id, t.choice) == (2, 1) for t in step.tokens))
    fresh.send(Cancel(2, 1))
    fresh.until(Step, lambda step: {token.choice for token in step.tokens} == {0, 2})
    while len((given := fresh.given())[2, 2]) < 200:
        fresh.until(Step)
    fresh.send(Cancel(2))
    assert ids(given[2, 0])[:200] == whole[1, 0]
    assert ids(given[2, 2])[:200] == whole[1, 2]
    assert len(given[2, 1]) < len(given[2, 2])


def test_the_choice_that_computes_the_prompt(fresh: EngineChild) -> None:
    """Another choice takes the prefill over from where it stood."""
    choices = [(i, []) for i in range(2)]
    question = prompt(1900, seed=5)
    beside = [submit(i, prompt(2000, seed=i), 1) for i in (7, 8)]  # so that it takes a while
    fresh.send(submit(1, question, 20, choices=choices), *beside)
    fresh.until(Prefilled, lambda e: e.id == 1 and e.done < e.total)
    fresh.send(Cancel(1, 0), *(Cancel(other.id) for other in beside))
    fresh.until(Step, lambda step: (1, 1, "length") in ends(step))
    given = fresh.given()
    assert given.keys() == {(1, 1)}
    assert ids(given[1, 1]) == fresh.run(submit(2, question, 20, seed=1, choices=[(1, [])]))[2, 1]


def ends(step: Step) -> set[tuple[int, int, str | None]]:
    return {(token.id, token.choice, token.finish) for token in step.tokens}


def test_twice_and_after_the_end(child: EngineChild) -> None:
    answer = child.run(submit(1, prompt(25), 6))[1, 0]
    child.send(Cancel(1), Cancel(1), Cancel(1, 7), Cancel(12345))
    assert child.run(submit(2, prompt(25), 6, seed=1))[2, 0] == answer
