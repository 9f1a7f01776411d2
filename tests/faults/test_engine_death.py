"""The engine child is killed, stopped, crashed: nobody's answer changes, nobody waits for ever."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path

import psutil
import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import GREEDY, prompt
from support.pool import Answer, answers, ask, job, kill_engine, put, running_pool

from glmd.daemon.pool import Job, Pool, Timeouts
from glmd.errors import Code, EngineFailed
from glmd.wire.sampling import Stage

PENALISED = [
    Stage("penalties", {"repeat": 1.3, "frequency": 0.2, "last_n": -1}),
    Stage("top_k", {"k": 40}),
    Stage("temperature", {"temperature": 1.2}),
]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not too tiny: an engine must not be done with everything before a kill reaches it."""
    shape = Shape(layers=2, hidden=256, heads=8, head_dim=32, ffn=512, seq_length=2048)
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), shape, tokenizer=None)


def sixteen() -> list[Job]:
    """Clients of every kind: short and long prompts, all samplings, one to three answers."""
    stages = [GREEDY, PENALISED, [Stage("temperature", {"temperature": 1.0})]]
    return [
        job(
            prompt(11 + 37 * i, seed=i),
            40 + 10 * i,
            seed=i,
            stages=stages[i % 3],
            n=3 if i in {4, 9} else 1,
            stop_ids=[7, 8, 9] if i == 6 else [],
            logprobs=2 if i == 12 else None,
            prompt_logprobs=i == 12,
        )
        for i in range(16)
    ]


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path) -> list[dict[int, list[int]]]:
    """What the sixteen are answered, each alone."""

    async def each_alone() -> list[dict[int, list[int]]]:
        async with running_pool(tiny_model, slots=4) as pool:
            return [(await answers(pool, one))[0] for one in sixteen()]

    return asyncio.run(each_alone())


class KillAt:
    """Kills the engine when, over all requests, token number `n` has been received."""

    def __init__(self, pool: Pool, *at: int) -> None:
        self._pool = pool
        self._at = set(at)
        self._seen = 0

    def __call__(self, token: object) -> None:
        self._seen += 1
        if self._seen in self._at:
            kill_engine(self._pool)


class KillEach:
    """Kills every engine that gives a token."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._killed: set[int | None] = {None}

    def __call__(self, token: object) -> None:
        pid = self._pool.replicas()[0].pid
        if pid not in self._killed:  # the dead one's last words are still being heard
            self._killed.add(pid)
            kill_engine(self._pool)


@pytest.mark.parametrize("at", [(1,), (100,), (1500,), (50, 900)], ids=str)
async def test_sixteen_clients_do_not_notice_a_killed_engine(
    tiny_model: Path, undisturbed: list[dict[int, list[int]]], at: tuple[int, ...]
) -> None:
    async with running_pool(tiny_model, slots=20) as pool:
        kill = KillAt(pool, *at)
        asked = [ask(pool, one, kill) for one in sixteen()]
        assert [await answer.end() for answer in asked] == undisturbed
        # An engine may have been done with everything when it was killed for a late token.
        await pool.until(lambda replica: replica.model_loads == 1 + len(at))
        assert not any(answer.after_end for answer in asked)
        assert [len(answer.prefills) for answer in asked] == [1] * 16
        assert len(asked[12].scores) == 1


@pytest.mark.parametrize("replicas", [1, 2])
async def test_killed_in_prefill(
    tiny_model: Path, undisturbed: list[dict[int, list[int]]], replicas: int
) -> None:
    async with running_pool(tiny_model, slots=20, replicas=replicas) as pool:
        asked = [ask(pool, one) for one in sixteen()]
        kill_engine(pool)
        assert [await answer.end() for answer in asked] == undisturbed
        assert [status.model_loads for status in pool.replicas()] == [2, 1][:replicas]


async def test_killed_in_the_middle_of_a_replay(
    tiny_model: Path, undisturbed: list[dict[int, list[int]]]
) -> None:
    async with running_pool(tiny_model, slots=20) as pool:
        kill = KillAt(pool, 400)
        asked = [ask(pool, one, kill) for one in sixteen()]
        await pool.until(lambda replica: replica.model_loads == 2)
        kill_engine(pool)  # the replay has just been sent to it
        assert [await answer.end() for answer in asked] == undisturbed
        assert pool.replicas()[0].model_loads == 3


async def test_killed_while_idle(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        (before,) = await answers(pool, job(prompt(50), 20))
        kill_engine(pool)
        (after,) = await answers(pool, job(prompt(50), 20))
        assert before == after


async def test_those_who_are_replayed_hear_so(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        answer = ask(pool, job(prompt(500), 1000), KillAt(pool, 250))
        await pool.until(lambda replica: replica.state == "restarting" and replica.pid is not None)
        given = len(answer.tokens[0])
        kill_engine(pool, sig=signal.SIGSTOP)
        await answer.until(lambda a: bool(a.phases) and a.phases[-1][0] == "replaying")
        kill_engine(pool, sig=signal.SIGCONT)
        assert answer.phases[-1] == ("replaying", 0, 500 + given)
        await answer.end()


async def test_a_death_is_seen_at_once(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        kill_engine(pool)
        await asyncio.wait_for(pool.until(lambda replica: replica.state != "ready"), 1)
        await answers(pool, job(prompt(5)))


async def test_a_crash_leaves_its_traces_in_the_log(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running_pool(tiny_model) as pool:
        kill_engine(pool, sig=signal.SIGSEGV)
        await pool.until(lambda replica: replica.state == "restarting")
        said = {record.name: record.getMessage() for record in caplog.records}
        expected = "Engine 0 was killed by SIGSEGV; no requests were on it."
        assert said["glmd.daemon.pool.replica"] == expected
        lines = [r.getMessage() for r in caplog.records if r.name == "glmd.child"]
        assert "engine 0: Fatal Python error: Segmentation fault" in lines
        await answers(pool, job(prompt(5)))


async def test_cancel_during_replay(tiny_model: Path) -> None:
    async with running_pool(tiny_model) as pool:
        (expected,) = await answers(pool, job(prompt(300), 20))
        for _ in range(2):
            ticket, answer = put(pool, job(prompt(300, seed=1), 500))
            other = ask(pool, job(prompt(300, seed=2), 500))
            await answer.until(lambda a: len(a.tokens.get(0, [])) >= 20)
            kill_engine(pool)
            await pool.until(lambda replica: replica.state == "restarting")
            ticket.cancel()
            await other.end()
            assert await answers(pool, job(prompt(300), 20)) == [expected]
        assert pool.running == 0


async def test_a_crash_loop_ends(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1) as pool:
        running = ask(pool, job(prompt(10), 2000), KillEach(pool))
        waiting = ask(pool, job(prompt(10), 5))
        for answer in (running, waiting):
            with pytest.raises(EngineFailed) as caught:
                await answer.end()
            assert caught.value.code is Code.ENGINE_DIED
            assert "SIGKILL" in caught.value.message
        assert len(running.tokens[0]) >= 3
        with pytest.raises(EngineFailed):
            ask(pool, job(prompt(10)))
        (status,) = pool.replicas()
        assert (status.state, status.pid, status.model_loads) == ("failed", None, 3)
        assert status.error


async def test_the_other_replica_goes_on(tiny_model: Path) -> None:
    async with running_pool(tiny_model, slots=1, replicas=2) as pool:
        doomed = ask(pool, job(prompt(10), 2000), KillEach(pool))
        fine = ask(pool, job(prompt(10, seed=1), 500))
        with pytest.raises(EngineFailed):
            await doomed.end()
        assert len((await fine.end())[0]) == 500
        assert [status.state for status in pool.replicas()] == ["failed", "ready"]
        await answers(pool, job(prompt(10)), job(prompt(20)))


async def test_a_death_while_loading_is_not_the_end_of_loading(tiny_model: Path) -> None:
    async with running_pool(tiny_model, wait=False) as pool:
        kill_engine(pool)
        await pool.ready()
        assert pool.model is not None
        assert pool.replicas()[0].state == "ready"


async def test_dying_again_and_again_while_loading_ends(tiny_model: Path) -> None:
    async with running_pool(tiny_model, wait=False) as pool:
        waiting = ask(pool, job(prompt(5)))
        for _ in range(3):
            await pool.until(lambda replica: replica.pid is not None)
            kill_engine(pool)
            dead = pool.replicas()[0].pid
            await pool.until(lambda replica, dead=dead: replica.pid != dead)
        assert pool.replicas()[0].state == "failed"
        with pytest.raises(EngineFailed):
            await pool.ready()
        with pytest.raises(EngineFailed):
            await waiting.end()


QUICK = Timeouts(prefill=1.0, decode=1.0)


@pytest.mark.parametrize("at", [None, 60])
async def test_a_hung_engine_is_ended_and_replayed(tiny_model: Path, at: int | None) -> None:
    def hang(token: object) -> None:
        seen.append(token)
        if len(seen) == at:
            kill_engine(pool, sig=signal.SIGSTOP)

    seen: list[object] = []
    async with running_pool(tiny_model, timeouts=QUICK) as pool:
        (expected,) = await answers(pool, job(prompt(400), 1000))
        answer = ask(pool, job(prompt(400), 1000), hang)
        if at is None:
            kill_engine(pool, sig=signal.SIGSTOP)
        assert await answer.end() == expected
        assert pool.replicas()[0].model_loads == 2


async def test_silence_of_an_idle_engine_is_no_fault(tiny_model: Path) -> None:
    async with running_pool(tiny_model, timeouts=QUICK) as pool:
        await answers(pool, job(prompt(10)))
        await asyncio.sleep(2.0)  # longer than that, by two rounds of the watchdog
        await answers(pool, job(prompt(10)))
        assert pool.replicas()[0].model_loads == 1


async def test_a_hung_engine_does_not_delay_the_stop(tiny_model: Path) -> None:
    async with running_pool(tiny_model, timeouts=Timeouts(stop=0.5)) as pool:
        pid = pool.replicas()[0].pid
        kill_engine(pool, sig=signal.SIGSTOP)
        await asyncio.wait_for(pool.stop(0), 2)
        assert pid is not None
        assert not psutil.pid_exists(pid)


async def test_nothing_is_left_behind(tiny_model: Path) -> None:
    me = psutil.Process()

    def held() -> tuple[int, int, int]:
        return me.num_fds(), me.num_threads(), len(me.children(recursive=True))

    async with running_pool(tiny_model):
        pass
    before = held()
    for i in range(9):
        async with running_pool(tiny_model, slots=2, wait=i % 3 > 0) as pool:
            if i % 3 == 2:
                answer = Answer()
                pool.submit(job(prompt(5), 500), answer)
                await answer.until(lambda a: bool(a.tokens))
                kill_engine(pool)
    assert held() == before
