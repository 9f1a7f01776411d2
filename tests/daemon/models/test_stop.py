"""The daemon is told to stop in the middle of a reload, once or twice: no process of either model
is left, and every request has its answer or hears why not (P2, P7)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from support.engine_processes import frozen
from support.models import Asked, WatchedModels, children, poison, serving

from glmd.errors import Code, DaemonError

LONG = 400  # tokens of an answer that outlives a reload

Stop = Callable[[WatchedModels], Awaitable[None]]


async def once(models: WatchedModels) -> None:
    """`glmd stop`: those that were accepted are answered."""
    await models.stop(30)


async def twice(models: WatchedModels) -> None:
    """Ctrl-C, and again: nobody waits for anything."""
    first = asyncio.ensure_future(models.stop(30))
    await all_wait()
    await models.stop(0)
    await first


async def all_wait() -> None:
    """Until everybody waits for a process or a clock."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(params=[once, twice])
def stop(request: pytest.FixtureRequest) -> Stop:
    told: Stop = request.param
    return told


async def is_refused(asked: Asked) -> None:
    with pytest.raises(DaemonError) as caught:
        await asked.end()
    assert caught.value.code is Code.STOPPING


@pytest.mark.parametrize("state", ["checking", "loading", "done"])
async def test_beside(old_model: Path, new_model: Path, stop: Stop, state: str) -> None:
    """Both models have a process while the new one loads; behind that the old one has, until it
    has answered what it has accepted."""
    async with serving(old_model) as models:
        running = await models.ask(LONG).begun()
        with frozen(models.engine):
            reload = asyncio.ensure_future(models.reload(models.to(new_model)))
            await models.until(lambda: models.states[-1:] == [state])
            assert len(children()) == (1 if state == "checking" else 2)
            stopping = asyncio.ensure_future(stop(models))
            await (stopping if stop is twice else all_wait())
        await stopping
        assert children() == []
        if stop is once:
            assert len(await running.end()) == LONG
        else:
            await is_refused(running)
        if state != "done":
            with pytest.raises(asyncio.CancelledError):
                await reload


@pytest.mark.parametrize("state", ["draining", "loading", "restoring"])
async def test_in_its_place(
    wide_models: tuple[Path, Path], tmp_path: Path, stop: Stop, state: str
) -> None:
    """One process at a time: the old model's, the new one's, the old one's again."""
    old, new = wide_models
    if state == "restoring":
        poison(new := shutil.copytree(new, tmp_path / "broken"))
    async with serving(old) as models:
        running = await models.ask(LONG).begun()
        with frozen(models.engine):
            reload = asyncio.ensure_future(models.reload(models.to(new)))
            await models.until(lambda: models.entrance.closed)
            waiting = await models.ask().waits()
            if state == "draining":
                assert (models.states[-1], len(children())) == (state, 1)
                stopping = asyncio.ensure_future(stop(models))
                await (stopping if stop is twice else all_wait())
        if state != "draining":
            await models.until(lambda: models.states[-2:-1] == ["draining"])
            assert len(await running.end()) == LONG
            await models.until(lambda: models.states[-1] == state)
            assert len(children()) == 1
            stopping = asyncio.ensure_future(stop(models))
        await stopping
        assert children() == []
        await is_refused(waiting)
        with pytest.raises(asyncio.CancelledError):
            await reload
        if state == "draining" and stop is once:
            assert len(await running.end()) == LONG
        elif state == "draining":
            await is_refused(running)
