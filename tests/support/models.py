"""Models that are exchanged under requests: two of them, a crowd, and who answered whom."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from msgspec.structs import replace
from support.checkpoints import NANO, Shape, write_checkpoint
from support.engine import prompt
from support.pool import Answer, job

from glmd.daemon.engine.memory import available_memory
from glmd.daemon.models.models import Models
from glmd.daemon.models.plan import make_plan
from glmd.settings import DaemonSettings
from glmd.wire.replies import Phase

SHAPE = Shape(layers=2, hidden=256, heads=8, head_dim=32, ffn=512, vocab=2304, seq_length=1024)

# Its KV cache is large beside its weights.
WIDE = Shape(layers=4, hidden=128, heads=4, kv_heads=4, head_dim=128, ffn=128, vocab=2304)


def model(folder: Path, seed: int, shape: Shape = SHAPE, tokenizer: Path = NANO) -> Path:
    """Weights of its own behind the shipped tokenizer: another seed gives other answers."""
    return write_checkpoint(folder, shape, seed=seed, tokenizer=tokenizer)


def context_for_one_only(slots: int) -> int:
    """With so long a context, `slots` slots of a WIDE model take so much of the memory, once they
    are used, that there is none for two such models: more than half of the machine's, where that
    is free."""
    free, half = available_memory(), int(0.55 * psutil.virtual_memory().total)
    per_token = WIDE.layers * 2 * WIDE.kv_heads * WIDE.head_dim * 2
    return max(int(0.7 * free), min(int(0.9 * free), half)) // slots // per_token


def poison(folder: Path) -> None:
    """Weights whose header is sound, and that no mode can hold: only the load finds out."""
    file = folder / "model.safetensors"
    size = file.stat().st_size
    with file.open("r+b") as weights:
        weights.seek(size - 4096)
        weights.write(b"\x00\x7e" * 2048)  # float16 NaN
    os.utime(file)


class Asked:
    """A request under way: what it heard, and who has answered it in the end."""

    def __init__(self, models: Models, tokens: int, seed: int) -> None:
        self.answer = Answer()
        self._heard = asyncio.Event()
        self.phases: list[Phase] = []
        self.identity = ""
        self.cancelled = asyncio.Event()
        self.task = asyncio.ensure_future(self._ask(models, tokens, seed))

    async def end(self) -> list[int]:
        await self.task
        return (await self.answer.end())[0]

    async def begun(self) -> Asked:
        """Wait for the first token."""
        await self.answer.until(lambda answer: bool(answer.tokens))
        return self

    async def waits(self) -> Asked:
        """Wait until it has heard that it must."""
        await self._heard.wait()
        return self

    async def _ask(self, models: Models, tokens: int, seed: int) -> None:
        async with models.entrance.enter("me", self._told, self.cancelled) as deployment:
            if deployment is None:
                return
            self.identity = models.present.plan.pin.identity
            question = job(prompt(20, seed=seed, vocab=2000), tokens, seed=seed)
            deployment.pool.submit(question, self.answer)
            await self.answer.end()

    def _told(self, phase: Phase, done: int, total: int) -> None:
        self.phases.append(phase)
        self._heard.set()


class WatchedModels(Models):
    """`states`: of all reloads, as they were told."""

    def __init__(self, said: DaemonSettings) -> None:
        self.states: list[str] = []
        self._news = asyncio.Event()
        super().__init__(make_plan(said), on_change=self._noted)

    def ask(self, tokens: int = 40, seed: int = 1) -> Asked:
        return Asked(self, tokens, seed)

    @property
    def engine(self) -> int:
        """The pid of the first replica of the model that serves."""
        pid = self.present.replicas.replicas()[0].pid
        assert pid is not None
        return pid

    def to(self, path: Path, **said: object) -> DaemonSettings:
        """What a reload is told."""
        return replace(self.present.plan.said, model=str(path), **said)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    def _noted(self, topic: str) -> None:
        if self.last is not None and (not self.states or self.states[-1] != self.last.state):
            self.states.append(self.last.state)
        self._news.set()


@asynccontextmanager
async def serving(model: Path, **said) -> AsyncIterator[WatchedModels]:
    """F16, 4 slots and one thread unless said otherwise. The folders are those of `homes`."""
    settings = DaemonSettings(**{"model": str(model), "slots": 4, "threads": 1, **said})
    models = WatchedModels(settings)
    await models.start()
    try:
        await models.present.replicas.ready()
        yield models
    finally:
        await models.stop(0)


def children() -> list[psutil.Process]:
    return psutil.Process().children()
