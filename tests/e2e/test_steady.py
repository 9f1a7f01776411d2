"""A daemon that has served many requests holds no more than one that has served a few (P6), and one
that is stopped nothing at all (P7)."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.daemons import Homes
from support.engine_processes import engine_pid, until

import glmd
from glmd import control
from glmd.errors import Code, ContextOverflow, DaemonError, NotFound

ROUNDS = 10  # of about 25 requests each
CONTEXT = 256
MIB = 1 << 20
GROWTH = 3 * MIB  # that a process may have grown by when it has served all

# asyncio's executor starts a thread whenever all it has are busy, up to so many, and keeps them.
EXECUTOR = (os.cpu_count() or 1) + 4


def some(number: int) -> None:
    """Requests of all kinds, from clients that come and go; half of them do not stay to the end."""
    with glmd.Client() as client:
        session = client.sessions.new().session
        for turn in range(4):
            client.chat("你好" * (1 + turn), session=session, max_tokens=8, seed=number)
        client.sessions.delete(session)
        for n in range(1, 7):
            client.complete("a b c " * 5 * n, n=1 + n % 2, max_tokens=6, logprobs=3)
        for _ in range(6):
            with client.stream_complete("a", ignore_eos=True) as stream:
                next(iter(stream))
        with pytest.raises(ContextOverflow):
            client.complete([5] * (CONTEXT + 1))
        with pytest.raises(NotFound):
            client.attach("nobody").result()
        client.tokenize("text " * 200)
        kept = client.stream_complete("b", max_tokens=30, ignore_eos=True, detached=True)
        begun = iter(kept)
        next(begun)
    for _ in range(6):
        with glmd.Client() as fleeting:
            stream = fleeting.stream_complete("c", ignore_eos=True)
            next(iter(stream))
    with glmd.Client() as client:
        until(client.status, lambda status: status.running + status.queued == 0)


def held(process: psutil.Process) -> tuple[int, int]:
    """File descriptors and threads."""
    return process.num_fds(), process.num_threads()


def no_more(process: psutil.Process, before: tuple[int, int]) -> None:
    """The last clients' connections are closed a moment after they have gone."""
    files, threads = before
    until(lambda: held(process), lambda now: now[0] <= files and now[1] < threads + EXECUTOR)


@pytest.mark.timeout(180)
def test_memory_is_flat(
    model: Path, homes: Homes, record_property: Callable[[str, object], None]
) -> None:
    started = homes.start(model=str(model), context=CONTEXT, slots=4, replicas=2)
    with glmd.Client() as client:
        processes = {"core": psutil.Process(started.pid)} | {
            f"engine {i}": psutil.Process(engine_pid(client.status, i)) for i in range(2)
        }
    for number in range(3):
        some(number)
    before = {name: (one.memory_info().rss, held(one)) for name, one in processes.items()}
    for number in range(ROUNDS):
        some(number)
    after = {name: (one.memory_info().rss, held(one)) for name, one in processes.items()}
    grown = {name: after[name][0] - before[name][0] for name in processes}
    record_property("grown_kib", {name: size >> 10 for name, size in grown.items()})
    print({name: (before[name], after[name]) for name in processes})
    for name, size in grown.items():
        assert size < GROWTH, f"{name} has grown by {size / MIB:.1f} MiB"
        no_more(processes[name], before[name][1])


def test_a_client_holds_nothing_either(daemon: object) -> None:
    """Programs that make a client for each question, and forget to close some."""

    def ask(number: int) -> None:
        client = glmd.Client()
        assert client.chat("你好", max_tokens=2, seed=number).token_ids
        if number % 2:
            client.close()

    me = psutil.Process()
    for number in range(4):
        ask(number)
    gc.collect()
    before = held(me)
    for number in range(20):
        ask(number)
    gc.collect()
    no_more(me, before)


def test_nothing_is_left_of_a_daemon_stopped_under_load(homes: Homes, model: Path) -> None:
    started = homes.start(model=str(model), replicas=2)
    family = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
    assert len(family) >= 4  # with two engines, and the plugin host
    with glmd.Client() as client:
        streams = [client.stream_complete("a", ignore_eos=True) for _ in range(6)]
        pieces = [iter(stream) for stream in streams]  # held, since leaving an iteration cancels
        for piece in pieces:
            next(piece)
        control.stop_daemon(started.name, drain=False)
        for stream in streams:
            with pytest.raises(DaemonError) as caught:
                stream.result()
            assert caught.value.code is Code.STOPPING
    assert psutil.wait_procs(family, timeout=5)[1] == []
    homes.check_nothing_left()
