"""Submits, cancels and deaths in a random but repeatable order: no answer is ever wrong."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.checkpoints import Shape, write_checkpoint
from support.engine import prompt
from support.pool import Answer, answers, job, kill_engine, put, running_pool

from glmd.daemon.pool import Job, Ticket
from glmd.errors import Busy


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), Shape(seq_length=1024), tokenizer=None)


COMMON = prompt(300)


def question(kind: int) -> Job:
    """Eighteen kinds: with prefixes in common or not, of one to three answers."""
    shared = COMMON[: 100 * (kind % 4)]
    return job(shared + prompt(5 + 20 * kind, seed=kind), 30, seed=kind, n=1 + kind % 3)


@pytest.fixture(scope="module")
def right(tiny_model: Path) -> list[dict[int, list[int]]]:
    async def each_alone() -> list[dict[int, list[int]]]:
        async with running_pool(tiny_model, slots=3) as pool:
            return [(await answers(pool, question(kind)))[0] for kind in range(18)]

    return asyncio.run(each_alone())


def begins(whole: dict[int, list[int]], part: dict[int, list[int]]) -> bool:
    return all(whole[choice][: len(tokens)] == tokens for choice, tokens in part.items())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("replicas", [1, 2])
async def test_no_answer_is_ever_wrong(
    tiny_model: Path, right: list[dict[int, list[int]]], seed: int, replicas: int
) -> None:
    rng = random.Random(seed)
    deaths = {rng.randrange(150), rng.randrange(150)}
    running: list[tuple[int, Ticket, Answer]] = []
    cancelled: list[tuple[int, Answer]] = []
    finished: list[tuple[int, Answer]] = []

    async with running_pool(tiny_model, slots=5, replicas=replicas, max_queue=20) as pool:
        for turn in range(150):
            kind = rng.randrange(18)
            try:
                ticket, answer = put(pool, replace(question(kind), principal=rng.choice("abc")))
                running.append((kind, ticket, answer))
            except Busy:
                await running[rng.randrange(len(running))][2].end()
            if rng.random() < 0.25 and running:
                kind, ticket, answer = running.pop(rng.randrange(len(running)))
                ticket.cancel()
                cancelled.append((kind, answer))
            if turn in deaths and pool.replicas()[0].state == "ready":
                kill_engine(pool)
            await asyncio.sleep(rng.choice([0, 0, 0.001, 0.01]))
        for kind, _, answer in running:
            await answer.end()
            finished.append((kind, answer))
        assert pool.running == pool.queued == 0

    assert len(finished) > 50
    for kind, answer in finished:
        assert answer.tokens == right[kind]
        assert not answer.after_end
    for kind, answer in cancelled:
        assert answer.error is None
        assert begins(right[kind], answer.tokens)
