"""A sampler does what it must not: its own requests fail under its name, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import GREEDY, RANDOM, prompt
from support.plugins import Managed, managed, sampler, save
from support.pool import Answer, WatchedPool, ask, job, kill_engine, running_pool

from glmd.daemon.pool import Job, Timeouts
from glmd.errors import Code, EngineFailed, GlmdError
from glmd.wire.sampling import Stage

pytestmark = pytest.mark.timeout(120)  # every test starts an engine, on a machine that may be busy

MIB = 1 << 20
TABLE = [b"", *(b"word %d" % i for i in range(319))]

# Behaves while it is looked over, and until token `at` of an answer.
TROUBLE = sampler(
    "trouble",
    """
    if len(history) - self.ctx.prompt_length >= self.params.at:
        exec(self.params.what, globals(), {"logits": logits, "history": history})
    """,
    params="at: int = 1000\nwhat: str = 'pass'",
    before="import ctypes, os, signal, time\nkept = []",
)

# Goes by the logits it has seen, which only load() can bring back.
DRIFT = sampler(
    "drift",
    """
    logits[int(self.sum * 1000) % 300] += 2
    self.sum += abs(float(logits.max()))
    """,
    before="import struct",
    state="""
    sum = 0.0

    def save(self):
        return struct.pack("<d", self.sum)

    def load(self, data):
        (self.sum,) = struct.unpack("<d", data)
    """,
)

# Goes by the tokens it was told of, which are told again.
TALLY = sampler(
    "tally",
    "logits[[token for token in self.seen]] -= 0.5",
    state="""
    seen = ()

    def accept(self, token):
        self.seen += (token,)
    """,
)

ONCE = sampler("once", before="").replace("name =", "replayable = False\n    name =", 1)


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMD_CONFIG", str(tmp_path / "config"))
    for name, source in {"trouble": TROUBLE, "drift": DRIFT, "tally": TALLY, "once": ONCE}.items():
        save(name, source)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(layers=2, hidden=256, heads=8, head_dim=32, ffn=512, seq_length=2048)
    return write_checkpoint(tmp_path_factory.mktemp("m"), shape, tokenizer=None)


def others(plugins: Managed, tokens: int = 60) -> list[Job]:
    """Requests that are none of the culprit's: native chains, and samplers that behave."""
    own = [Stage("temperature", {"temperature": 1.3})]
    chains = [GREEDY, RANDOM, [Stage("drift"), *own], [*own, Stage("tally")], RANDOM]
    return [
        job(
            prompt(5 + 30 * i, seed=i),
            tokens,
            seed=i,
            stages=stages,
            n=2 if i == 2 else 1,
            plugins={
                s.name: plugins.snapshot[s.name].version
                for s in stages
                if s.name in plugins.snapshot
            },
        )
        for i, stages in enumerate(chains)
    ]


def trouble(plugins: Managed, what: str, at: int = 5) -> Job:
    stages = [Stage("trouble", {"at": at, "what": what}), *RANDOM]
    version = plugins.snapshot["trouble"].version
    return job(prompt(20), 60, stages=stages, plugins={"trouble": version})


@asynccontextmanager
async def serving(
    model: Path, memory: int = 0, stuck: float = 5.0
) -> AsyncIterator[tuple[Managed, WatchedPool]]:
    async with (
        managed() as plugins,
        running_pool(
            model,
            on_blame=plugins.blame,
            vocabulary=TABLE,
            plugin_memory=memory,
            timeouts=Timeouts(plugin=stuck),
        ) as pool,
    ):
        plugins.pool = pool
        yield plugins, pool


@pytest.fixture(scope="module")
def undisturbed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    async def alone() -> list[dict[int, list[int]]]:
        async with serving(model) as (plugins, pool):
            return [await ask(pool, one).end() for one in others(plugins)]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("GLMD_CONFIG", str(tmp_path_factory.mktemp("config")))
        save("drift", DRIFT)
        save("tally", TALLY)
        return asyncio.run(alone())


async def ends_in(answer: Answer) -> GlmdError:
    with pytest.raises(EngineFailed) as caught:
        await answer.end()
    assert caught.value.code is Code.PLUGIN_ERROR
    assert caught.value.plugin == "trouble"
    return caught.value


WRONG = {
    "raises": ("raise RuntimeError('no')", "'trouble' failed at token 5: RuntimeError: no"),
    "exits": ("raise SystemExit(1)", "SystemExit: 1"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "NaN": ("logits[7] = np.nan", "NaN or"),
    "infinity": ("logits[7] = np.inf", "NaN or"),
    "nothing left": ("logits[:] = -np.inf", "none is left above"),
    "another shape": ("logits.shape = (2, -1)", r"left the logits as float32\[2, "),
    "another type": ("logits.dtype = np.int32", "left the logits as int32"),
    "another size": ("logits.resize(7, refcheck=False)", "ValueError"),
    "writes history": ("history[0] = 1", "read-only"),
    "out of memory": ("kept.append(np.ones(1 << 31))", "MemoryError"),
    "sleeps": ("time.sleep(0.3)", "twice in a row more than the 250 ms"),
    "grows": ("kept.append(bytearray(32 << 20))", "MiB are allowed"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_only_its_own_request_fails(
    case: str, model: Path, undisturbed: list[dict[int, list[int]]]
) -> None:
    what, why = WRONG[case]
    async with serving(model, memory=128 * MIB) as (plugins, pool):
        culprit = ask(pool, trouble(plugins, what))
        asked = [ask(pool, one) for one in others(plugins)]
        error = await ends_in(culprit)
        assert [await answer.end() for answer in asked] == undisturbed
        assert pool.replicas()[0].model_loads == 1
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(error.message)
    first_wrong = {"sleeps": 6, "grows": 8}.get(case, 5)  # late once is forgiven; 128 = 4 * 32
    assert len(culprit.tokens[0]) == first_wrong


CRASHES = {
    "segfault": ("ctypes.string_at(0)", "was killed by SIGSEGV"),
    "abort": ("os.abort()", "was killed by SIGABRT"),
    "leaves": ("os._exit(3)", "exited with status 3"),
    "hangs": ("time.sleep(3600)", "was killed by SIGKILL"),
}


@pytest.mark.parametrize("case", CRASHES)
async def test_who_takes_the_engine_down_is_quarantined_and_the_others_go_on(
    case: str, model: Path, undisturbed: list[dict[int, list[int]]]
) -> None:
    what, how = CRASHES[case]
    async with serving(model, stuck=1.0) as (plugins, pool):
        asked = [ask(pool, one) for one in others(plugins)]
        culprits = [ask(pool, trouble(plugins, what)), ask(pool, trouble(plugins, "pass", 0))]
        for culprit in culprits:
            error = await ends_in(culprit)
            assert "is quarantined" in error.message
            assert f"{how} in code of the plugin trouble" in error.message
        assert [await answer.end() for answer in asked] == undisturbed
        assert pool.replicas()[0].model_loads == 2
        info = plugins.info("trouble")
        assert info.state == "quarantined"
        assert how in info.error
        with pytest.raises(EngineFailed, match="quarantined") as caught:
            plugins.snapshot["trouble"].check({})
        assert caught.value.plugin == "trouble"


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


async def test_who_was_hit_by_a_kill_from_outside_goes_on(
    model: Path, tmp_path: Path, undisturbed: list[dict[int, list[int]]]
) -> None:
    mark = f"__import__('pathlib').Path({str(tmp_path / 'killed')!r})"
    async with serving(model) as (plugins, pool):
        alone = await ask(pool, trouble(plugins, "pass")).end()
        asked = [ask(pool, one) for one in others(plugins)]
        hit = ask(pool, trouble(plugins, f"{mark}.exists() or ({mark}.touch(), {KILL})"))
        assert await hit.end() == alone
        assert [await answer.end() for answer in asked] == undisturbed
        assert plugins.info("trouble").state == "loaded"
        assert pool.replicas()[0].model_loads == 2


async def test_who_is_hit_three_times_is_quarantined_and_the_engine_lives(
    model: Path, undisturbed: list[dict[int, list[int]]]
) -> None:
    async with serving(model) as (plugins, pool):
        asked = [ask(pool, one) for one in others(plugins)]
        error = await ends_in(ask(pool, trouble(plugins, KILL)))
        assert "was killed by SIGKILL in code of the plugin trouble" in error.message
        assert [await answer.end() for answer in asked] == undisturbed
        info = plugins.info("trouble")
        assert info.state == "quarantined"
        assert "it failed 3 times within a minute" in info.error
        assert (pool.replicas()[0].state, pool.replicas()[0].model_loads) == ("ready", 4)


async def test_crashes_of_plugins_do_not_use_up_the_engines_lives(model: Path) -> None:
    async with serving(model) as (plugins, pool):
        for number in range(4):
            await ends_in(ask(pool, trouble(plugins, "os._exit(1)", at=0)))
            save("trouble", TROUBLE + f"# {number}\n")
            await plugins.until("trouble", lambda info: info.state == "loaded")
        assert (await ask(pool, job(prompt(9), 5)).end())[0]
        assert pool.replicas()[0].state == "ready"


async def test_three_failures_within_a_minute_are_too_many(model: Path) -> None:
    async with serving(model) as (plugins, pool):
        for number in range(3):
            assert plugins.info("trouble").state == "loaded"
            await ends_in(ask(pool, trouble(plugins, f"raise ValueError({number})")))
        info = plugins.info("trouble")
        assert info.state == "quarantined"
        assert "it failed 3 times within a minute, last: " in info.error
        assert "ValueError: 2" in info.error
        await plugins.reload("trouble")
        assert plugins.info("trouble").state == "loaded"
        assert (await ask(pool, trouble(plugins, "pass")).end())[0]


async def test_what_the_request_got_wrong_is_not_held_against_the_plugin(model: Path) -> None:
    refusing = "raise __import__('glmd').errors.InvalidRequest('No.')"
    async with serving(model) as (plugins, pool):
        for _ in range(4):
            answer = ask(pool, trouble(plugins, refusing))
            with pytest.raises(GlmdError, match=r"No\.") as caught:
                await answer.end()
            assert caught.value.code is Code.INVALID_REQUEST
        assert plugins.info("trouble").state == "loaded"


async def test_what_a_plugin_leaves_behind_ends_with_it(
    model: Path, undisturbed: list[dict[int, list[int]]]
) -> None:
    """Memory that nobody can give back, held by a module that itself is held: the engine is
    replaced, and the others do not notice."""
    leak = "import builtins; builtins.__dict__.setdefault('k', []).append(bytearray(40 << 20))"
    async with serving(model, memory=128 * MIB) as (plugins, pool):
        for _ in range(3):
            await ends_in(ask(pool, trouble(plugins, leak, at=0)))
        asked = [ask(pool, one) for one in others(plugins)]
        assert plugins.info("trouble").state == "quarantined"
        assert [await answer.end() for answer in asked] == undisturbed
        assert pool.replicas()[0].model_loads == 2
        assert pool.replicas()[0].state == "ready"


@pytest.mark.parametrize("at", [1, 40, 200])
async def test_samplers_with_a_state_are_replayed(
    at: int, model: Path, undisturbed: list[dict[int, list[int]]]
) -> None:
    """The engine is killed outside of all plugins: what was saved with the last token goes on."""
    async with serving(model) as (plugins, pool):
        seen = 0

        def kill(token: object) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                kill_engine(pool)

        asked = [ask(pool, one, kill) for one in others(plugins)]
        assert [await answer.end() for answer in asked] == undisturbed
        # The engine may have been done with everything when it was killed for a late token.
        await pool.until(lambda replica: replica.model_loads == 2)
        assert all(info.state == "loaded" for info in plugins.infos())


async def test_an_answer_that_cannot_be_replayed_says_so(model: Path) -> None:
    async with serving(model) as (plugins, pool):
        version = plugins.snapshot["once"].version
        one = job(prompt(9), 500, stages=[Stage("once")], plugins={"once": version})
        begun, other = ask(pool, one), ask(pool, job(prompt(9), 50))
        await begun.until(lambda answer: bool(answer.tokens))
        fresh = ask(pool, one)  # has given no token that could be contradicted
        kill_engine(pool)
        with pytest.raises(EngineFailed, match="of the plugin once cannot be taken up") as caught:
            await begun.end()
        assert caught.value.code is Code.ENGINE_DIED
        assert caught.value.plugin == "once"
        assert len((await other.end())[0]) == 50
        assert len((await fresh.end())[0]) == 500
