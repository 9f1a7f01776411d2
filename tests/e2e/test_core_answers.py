"""Whatever its engine does, the core answers: within a second it says how things are (P5)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from support.daemons import Homes
from support.engine_processes import engine_pid, frozen, until

import glmd
from glmd import control, facts, paths
from glmd.errors import Code, GlmdError
from glmd.facts import DaemonFacts
from glmd.wire.replies import StatusReply

WITHIN = 1.0  # seconds, promised


def quickly(status: Callable[[], StatusReply]) -> StatusReply:
    began = time.monotonic()
    told = status()
    assert time.monotonic() - began < WITHIN
    return told


def test_while_its_engine_is_stopped(daemon: DaemonFacts) -> None:
    """Everything but tokens goes on: status, text, sessions, cancels, other clients."""
    with glmd.Client() as client, glmd.Client() as other:
        stream = client.stream_complete("a", ignore_eos=True)
        pieces = iter(stream)
        next(pieces)
        with frozen(engine_pid(other.status)):
            for _ in range(5):
                told = quickly(other.status)
                assert (told.state, told.running) == ("ready", 1)
            assert other.detokenize(other.tokenize("你好").tokens) == "你好"
            session = other.sessions.new("held up").session
            other.sessions.delete(session)
            stream.cancel()
            assert stream.result().finish_reason == "cancelled"
            assert quickly(other.status).running == 0
        assert client.chat("你好", max_tokens=2).usage.completion_tokens == 2


def test_while_it_loads(homes: Homes) -> None:
    """The engine child is stopped as soon as it exists, so that the load takes as long as it is
    looked at; a request that comes meanwhile is told so, and answered in the end."""
    with ThreadPoolExecutor(2) as threads:
        starting = threads.submit(homes.start)
        until(lambda: facts.read("default"), lambda told: bool(told and told.endpoints))
        endpoint = f"ipc://{paths.socket_file('default')}"
        with glmd.Client(endpoint=endpoint) as client:
            loading = until(client.status, lambda told: told.replicas[0].pid is not None)
            with frozen(loading.replicas[0].pid or 0):
                for _ in range(5):
                    told = quickly(client.status)
                    assert (told.state, told.replicas[0].model_loads) == ("loading", 0)
                waiting = threads.submit(client.chat, "你好", max_tokens=2)
                assert not starting.done()
            assert starting.result().state == "ready"
            assert waiting.result().usage.completion_tokens == 2
            assert quickly(client.status).state == "ready"


@pytest.mark.parametrize("replicas", [1, 2])
def test_it_says_within_a_second_that_its_engine_is_gone(homes: Homes, replicas: int) -> None:
    core = psutil.Process(homes.start(replicas=replicas).pid)
    with glmd.Client() as client:
        before = client.status().replicas
        killed = time.monotonic()
        os.kill(before[-1].pid or 0, signal.SIGKILL)
        told = until(client.status, lambda status: status.replicas[-1].state != "ready")
        assert time.monotonic() - killed < WITHIN
        assert told.state == "degraded"
        assert told.pid == core.pid
        assert [one.state for one in told.replicas[:-1]] == ["ready"] * (replicas - 1)
        after = until(client.status, lambda status: status.state == "ready").replicas
        assert after[-1].pid != before[-1].pid
        assert [one.pid for one in after[:-1]] == [one.pid for one in before[:-1]]


def test_when_the_engine_cannot_live(daemon: DaemonFacts) -> None:
    """Three deaths: requests get `engine_died`, and the core still answers, and stops."""
    with glmd.Client() as client:
        for _ in range(3):
            until(client.status, lambda status: status.replicas[0].pid is not None)
            pid = client.status().replicas[0].pid or 0
            os.kill(pid, signal.SIGKILL)
            until(client.status, lambda status, dead=pid: status.replicas[0].pid != dead)
        told = until(client.status, lambda status: status.state == "failed")
        assert "SIGKILL" in told.replicas[0].error
        with pytest.raises(GlmdError) as caught:
            client.chat("你好")
        assert caught.value.code is Code.ENGINE_DIED
        assert client.tokenize("你好").tokens
    control.stop_daemon(daemon.name)
