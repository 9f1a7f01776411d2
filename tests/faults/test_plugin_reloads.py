"""A plugin is reloaded again and again while it is in use."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections import Counter
from pathlib import Path

import psutil
import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import prompt
from support.plugins import Managed, managed, only, sampler, save
from support.pool import ask, job, running_pool

from glmd.daemon.plugins.version import Version
from glmd.wire.sampling import Stage

RELOADS = 200
TOKENS = 12

# Each version answers with its number, over and over; a megabyte of module makes leaks plain.
NUMBERED = "{before}\nBALLAST = np.full(1 << 17, {number}.0)\nNUMBER = {number}"
# And this one with how many modules of files there are in its process.
MODULES = "sum(name.startswith('glmd_user.') for name in __import__('sys').modules)"


def numbered(number: int) -> str:
    return sampler("number", only("NUMBER"), before=NUMBERED.format(before="", number=number))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("m"), Shape(), tokenizer=None)


async def keep_asking(
    plugins: Managed, name: str, tokens: Counter[int], until: asyncio.Event
) -> int:
    """Ask, again and again; every answer is that of one version alone. How many were asked."""
    for count in itertools.count():
        if until.is_set():
            return count
        version = plugins.snapshot[name].version
        wanted = job(prompt(8, seed=count), TOKENS, stages=[Stage(name)], plugins={name: version})
        assert plugins.pool is not None
        (given,) = (await ask(plugins.pool, wanted).end()).values()
        assert len(set(given)) == 1 or name == "modules", given
        if name == "number":
            assert f"NUMBER = {given[0]}\n" in version.source.text
        tokens.update(set(given))
    raise AssertionError


@pytest.mark.timeout(240)
async def test_two_hundred_reloads_under_load_leave_nothing_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMD_CONFIG", str(tmp_path / "config"))
    save("number", numbered(0))
    save("modules", sampler("modules", only(MODULES)))
    async with managed() as plugins, running_pool(model, on_blame=plugins.blame) as pool:
        plugins.pool = pool
        done = asyncio.Event()
        numbers: Counter[int] = Counter()
        modules: Counter[int] = Counter()
        askers = [
            asyncio.ensure_future(keep_asking(plugins, "number", numbers, done)) for _ in range(7)
        ]
        askers.append(asyncio.ensure_future(keep_asking(plugins, "modules", modules, done)))
        sizes = []
        for number in range(1, RELOADS + 1):
            save("number", numbered(number % 300))
            await plugins.reload(None)
            info = plugins.info("number")
            assert (info.state, info.error) == ("loaded", "")
            plugins.retired.clear()
            if number % 50 == 0:
                sizes.append(memory(pool.replicas()[0].pid))
        done.set()
        asked = sum(await asyncio.gather(*askers))
        gc.collect()
        alive = Counter(v.name for v in gc.get_objects() if type(v) is Version)
        assert pool.replicas()[0].model_loads == 1
    assert asked > RELOADS  # it was under load
    assert len(numbers) > RELOADS / 4
    # Those that serve, and those that a request still held: never more than were asked at once.
    assert max(modules) <= 2 + 7
    assert alive["number"] <= 2
    # 150 modules of a megabyte would be seen.
    assert sizes[-1] - sizes[0] < 32 << 20, sizes


def memory(pid: int | None) -> int:
    return int(psutil.Process(pid).memory_info().rss)
