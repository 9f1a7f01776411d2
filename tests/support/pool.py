"""A real pool with real engine children, and listeners that remember what they were told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.engine import RANDOM

from glmd.daemon.engine.messages import Logprob, Token
from glmd.daemon.plugins.version import Version
from glmd.daemon.pool import Job, Pool, PoolSpec, Ticket, Timeouts
from glmd.errors import GlmdError
from glmd.wire.replies import Phase, ReplicaStatus


def job(prompt: list[int], max_tokens: int = 8, **fields) -> Job:
    given = {"stages": RANDOM, "seed": 1, "stop_ids": [], "max_tokens": max_tokens}
    return Job(prompt=prompt, **(given | fields))


class Answer:
    """A listener. `on_token` is called with each token, after it has been noted."""

    def __init__(self, on_token: Callable[[Token], None] | None = None) -> None:
        self.tokens: dict[int, list[int]] = {}
        self.finish: dict[int, str] = {}
        self.error: GlmdError | None = None
        self.scores: list[list[Logprob]] = []
        self.prefills: list[tuple[int, int]] = []
        self.phases: list[tuple[Phase, int, int]] = []
        self.after_end: list[str] = []
        self.choices = 1
        self._on_token = on_token
        self._ended = asyncio.Event()
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    async def end(self) -> dict[int, list[int]]:
        """Wait for the last word; the tokens by choice. Raises the error it ended with."""
        await self._ended.wait()
        if self.error:
            raise self.error
        return self.tokens

    async def until(self, condition: Callable[[Answer], bool]) -> None:
        while not condition(self):
            self._news.clear()
            await self._news.wait()

    # -- Listener ------------------------------------------------------------------------------

    def progress(self, phase: Phase, done: int, total: int) -> None:
        self.phases.append((phase, done, total))
        self._heard("progress")

    def prefilled(self, total: int, cached: int) -> None:
        self.prefills.append((total, cached))
        self._heard("prefilled")

    def prompt_logprobs(self, items: list[Logprob]) -> None:
        self.scores.append(items)
        self._heard("prompt_logprobs")

    def token(self, token: Token) -> None:
        self.tokens.setdefault(token.choice, []).append(token.token)
        if token.finish:
            self.finish[token.choice] = token.finish
        self._heard("token")
        if len(self.finish) == self.choices:
            self._ended.set()
        if self._on_token:
            self._on_token(token)

    def failed(self, error: GlmdError) -> None:
        self.error = error
        self._heard("failed")
        self._ended.set()

    def _heard(self, what: str) -> None:
        if self.ended:
            self.after_end.append(what)
        self._news.set()


def ask(pool: Pool, job: Job, on_token: Callable[[Token], None] | None = None) -> Answer:
    return put(pool, job, on_token)[1]


def put(
    pool: Pool, job: Job, on_token: Callable[[Token], None] | None = None
) -> tuple[Ticket, Answer]:
    answer = Answer(on_token)
    answer.choices = job.n
    return pool.submit(job, answer), answer


async def answers(pool: Pool, *jobs: Job) -> list[dict[int, list[int]]]:
    """Submit together; the tokens of each."""
    return [await answer.end() for answer in [ask(pool, job) for job in jobs]]


def kill_engine(pool: Pool, index: int = 0, sig: int = signal.SIGKILL) -> None:
    pid = pool.replicas()[index].pid
    if pid is None:
        raise AssertionError(f"replica {index} has no process")
    os.kill(pid, sig)


class WatchedPool(Pool):
    """`topics`: what it announced."""

    def __init__(self, spec: PoolSpec, timeouts: Timeouts | None, **options: Any) -> None:
        self.topics: list[str] = []
        self._news = asyncio.Event()
        super().__init__(spec, on_change=self._changed, timeouts=timeouts, **options)

    def _changed(self, topic: str) -> None:
        self.topics.append(topic)
        self._news.set()

    async def until(self, condition: Callable[[ReplicaStatus], bool], index: int = 0) -> None:
        """Wait until a replica is in a state. Looks at it whenever something is announced."""
        while not condition(self.replicas()[index]):
            self._news.clear()
            await self._news.wait()


@asynccontextmanager
async def running_pool(
    model: Path,
    *,
    timeouts: Timeouts | None = None,
    wait: bool = True,
    on_blame: Callable[[Version, str, bool], None] = lambda version, what, crashed: None,
    **spec,
) -> AsyncIterator[WatchedPool]:
    """On the CPU with one thread a replica, 16 slots, F16, unless said otherwise."""
    given = {"backend": "cpu", "mode": "f16", "slots": 16, "threads": spec.get("replicas", 1)}
    pool = WatchedPool(PoolSpec(model=model, **(given | spec)), timeouts, on_blame=on_blame)
    await pool.start()
    try:
        if wait:
            await pool.ready()
        yield pool
    finally:
        await pool.stop(0)
