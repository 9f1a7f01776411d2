"""The model is exchanged under requests: each is answered by one model, and none is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import weakref
from pathlib import Path

import psutil
import pytest
from support.engine_processes import frozen
from support.models import WatchedModels, children, poison, serving

from glmd.errors import Busy, Code, InvalidRequest, ModelError

LONG = 400  # tokens of an answer that outlives a reload


async def alone(model: Path, tokens: int, seed: int = 1, **said: object) -> list[int]:
    async with serving(model, **said) as models:
        return await models.ask(tokens, seed).end()


# -- beside --------------------------------------------------------------------------------------


async def test_each_is_answered_by_the_model_it_was_accepted_for(
    old_model: Path, new_model: Path
) -> None:
    by_old, by_new = await alone(old_model, LONG), await alone(new_model, LONG)
    assert by_old != by_new
    async with serving(old_model, slots=1) as models:
        running = await models.ask(LONG).begun()
        with frozen(models.engine):
            queued = models.ask(LONG)
            await models.until(lambda: models.queued == 1)
            await models.reload(models.to(new_model))
            assert not running.answer.ended
            later = models.ask(LONG)
        assert [await one.end() for one in (running, queued, later)] == [by_old, by_old, by_new]
        await models.until(lambda: not models.leaving)
        assert len(children()) == 1
        assert (models.requests_served, models.model_loads) == (3, 2)
    assert models.states == ["checking", "loading", "done"]


async def test_the_same_model_again(old_model: Path) -> None:
    async with serving(old_model) as models:
        before = await models.ask().end()
        (pid,) = (child.pid for child in children())
        await models.reload(models.present.plan.said)
        assert await models.ask().end() == before
        await models.until(lambda: not models.leaving)
        assert [child.pid for child in children()] != [pid]


async def test_several_replicas(old_model: Path, new_model: Path) -> None:
    by_old, by_new = await alone(old_model, LONG), await alone(new_model, LONG)
    async with serving(old_model, replicas=2, slots=2, threads=2) as models:
        running = [models.ask(LONG) for _ in range(3)]
        for one in running:
            await one.begun()
        await models.reload(models.to(new_model, replicas=3, threads=3))
        later = [models.ask(LONG) for _ in range(4)]
        assert [await one.end() for one in running] == [by_old] * 3
        assert [await one.end() for one in later] == [by_new] * 4
        await models.until(lambda: not models.leaving)
        assert len(children()) == 3


async def test_nothing_is_held_after_many_reloads(old_model: Path, new_model: Path) -> None:
    process = psutil.Process()
    async with serving(old_model) as models:
        await models.reload(models.to(new_model))
        await models.until(lambda: not models.leaving)
        held = process.num_fds()
        gone = []
        for path in (old_model, new_model) * 3:
            gone.append(weakref.ref(models.present))
            await models.reload(models.to(path))
            await models.until(lambda: not models.leaving)
        assert process.num_fds() == held
        gc.collect()
        assert [one() for one in gone] == [None] * 6


# -- in its place --------------------------------------------------------------------------------


async def test_without_memory_for_both_the_new_one_takes_its_place(
    wide_models: tuple[Path, Path],
) -> None:
    old, new = wide_models
    by_old, by_new = await alone(old, LONG), await alone(new, LONG)
    async with serving(old, slots=4) as models:
        running = await models.ask(LONG).begun()
        with frozen(models.engine):
            reload = asyncio.ensure_future(models.reload(models.to(new)))
            await models.until(lambda: models.entrance.closed)
            later = await models.ask(LONG).waits()
            assert not running.answer.ended
            assert models.queued == 1
        assert await running.end() == by_old
        await reload
        assert await later.end() == by_new
        assert set(later.phases) == {"reloading"}
        assert len(children()) == 1
    assert models.states == ["checking", "loading", "draining", "loading", "done"]


async def test_in_its_place_a_broken_model_brings_the_old_one_back(
    wide_models: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = wide_models
    by_old = await alone(old, 40)
    broken = shutil.copytree(new, tmp_path / "broken")
    poison(broken)
    async with serving(old, slots=4) as models:
        reload = asyncio.ensure_future(models.reload(models.to(broken)))
        await models.until(lambda: models.entrance.closed)
        later = models.ask()
        with pytest.raises(ModelError, match="broken"):
            await reload
        assert await later.end() == by_old
        assert models.failure() is None
        assert models.present.plan.config.model == old
    assert models.states[-3:] == ["loading", "restoring", "failed"]


async def test_cancelled_while_it_waits(wide_models: tuple[Path, Path]) -> None:
    old, new = wide_models
    async with serving(old, slots=4) as models:
        running = await models.ask(LONG).begun()
        with frozen(models.engine):
            reload = asyncio.ensure_future(models.reload(models.to(new)))
            await models.until(lambda: models.entrance.closed)
            waiting = await models.ask().waits()
            waiting.cancelled.set()
            await waiting.task
        assert (models.queued, waiting.identity) == (0, "")
        await running.end()
        await reload


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "cut", "poisoned", "config", "replicas"])
async def test_a_failure_leaves_the_old_one_serving(
    old_model: Path, new_model: Path, tmp_path: Path, kind: str
) -> None:
    broken = shutil.copytree(new_model, tmp_path / "broken")
    said: dict[str, object] = {}
    if kind == "missing":
        shutil.rmtree(broken)
    elif kind == "cut":
        os.truncate(broken / "model.safetensors", 1000)
    elif kind == "poisoned":
        poison(broken)
    elif kind == "config":
        (broken / "config.json").write_text("{")
    else:
        said = {"devices": [0]}
    async with serving(old_model) as models:
        before = await models.ask().end()
        running = await models.ask(LONG).begun()
        with pytest.raises((ModelError, InvalidRequest)) as caught:
            await models.reload(models.to(broken, **said))
        assert models.last is not None
        assert models.last.state == "failed"
        assert models.last.error == str(caught.value)
        assert await models.ask().end() == before
        assert len(await running.end()) == LONG
        assert (models.leaving, models.coming) == ([], None)
        assert len(children()) == 1


async def test_one_at_a_time(old_model: Path, new_model: Path) -> None:
    async with serving(old_model) as models:
        first = asyncio.ensure_future(models.reload(models.to(new_model)))
        await models.until(lambda: models.states[-1:] == ["loading"])
        with pytest.raises(Busy, match="One reload at a time") as caught:
            await models.reload(models.to(old_model))
        assert caught.value.code is Code.RELOAD_IN_PROGRESS
        await first
        assert models.present.plan.config.model == new_model


async def test_a_caller_that_leaves_stops_nothing(old_model: Path, new_model: Path) -> None:
    async with serving(old_model) as models:
        reload = asyncio.ensure_future(models.reload(models.to(new_model)))
        await models.until(lambda: models.states[-1:] == ["loading"])
        reload.cancel()
        await models.until(lambda: models.states[-1] == "done")
        assert models.present.plan.config.model == new_model


async def test_a_reload_helps_a_model_that_has_failed(old_model: Path) -> None:
    async with serving(old_model) as models:
        for _ in range(3):
            os.kill(models.engine, signal.SIGKILL)
            await models.until(lambda: state(models) != "ready")
            await models.until(lambda: state(models) in {"ready", "failed"})
        assert models.failure() is not None
        await models.reload(models.present.plan.said)
        assert models.failure() is None
        assert len(await models.ask().end()) == 40


def state(models: WatchedModels) -> str:
    (replica,) = models.present.replicas.replicas()
    return replica.state


# -- the files under it --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["renamed", "folder", "removed"])
async def test_an_engine_that_dies_is_replayed_on_the_files_it_served(
    old_model: Path, new_model: Path, tmp_path: Path, how: str
) -> None:
    """Others have their names by then."""
    by_old, by_new = await alone(old_model, LONG), await alone(new_model, LONG)
    served = shutil.copytree(old_model, tmp_path / "served")
    coming = shutil.copytree(new_model, tmp_path / "coming")
    async with serving(served) as models:
        running = await models.ask(LONG).begun()
        with frozen(models.engine):
            if how == "renamed":
                (coming / "model.safetensors").replace(served / "model.safetensors")
            elif how == "folder":
                served.rename(tmp_path / "gone")
                coming.rename(served)
            else:
                shutil.rmtree(served)
            os.kill(models.engine, signal.SIGKILL)
        assert await running.end() == by_old
        assert models.model_loads == 2
        assert await models.ask(LONG).end() == by_old
        if how != "removed":
            await models.reload(models.present.plan.said)
            assert await models.ask(LONG).end() == by_new


async def test_an_engine_that_dies_over_files_that_were_overwritten(
    old_model: Path, new_model: Path, tmp_path: Path
) -> None:
    served = shutil.copytree(old_model, tmp_path / "served")
    async with serving(served) as models:
        running = await models.ask(LONG).begun()
        with frozen(models.engine):
            shutil.copyfile(new_model / "model.safetensors", served / "model.safetensors")
            os.kill(models.engine, signal.SIGKILL)
        with pytest.raises(ModelError, match="overwritten while it was served"):
            await running.end()
        assert len(running.answer.tokens[0]) < LONG
        await models.reload(models.present.plan.said)
        assert await models.ask(LONG).end() == await alone(new_model, LONG)
