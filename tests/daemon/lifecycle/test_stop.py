"""Ending a daemon: what runs may finish, and nothing is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from support.daemons import Homes
from support.engine_processes import engine_pid, frozen
from support.peer import Peer, endless, question

from glmd import control, facts, process
from glmd.errors import DaemonNotRunning
from glmd.wire.replies import Accepted, Done, Failure, Sessions
from glmd.wire.requests import SessionList

pytestmark = pytest.mark.timeout(90)


@contextmanager
def stopping(drain: bool = True) -> Iterator[threading.Thread]:
    """A `glmd stop` under way, up to where the daemon has heard it."""
    stopper = threading.Thread(
        target=control.stop_daemon, args=("default",), kwargs={"drain": drain}
    )
    stopper.start()
    while (found := facts.read("default")) is not None and found.state == "ready":
        time.sleep(0.001)
    yield stopper
    stopper.join()


def test_nothing_is_left(homes: Homes) -> None:
    daemon = homes.start()
    children = {child.pid for child in homes.processes()}
    assert len(children) >= 2
    control.stop_daemon("default")
    homes.check_nothing_left()
    assert not any(process.start_ticks(pid) for pid in {daemon.pid, *children})


def test_who_does_not_run_cannot_be_stopped(homes: Homes) -> None:
    with pytest.raises(DaemonNotRunning, match="default"):
        control.stop_daemon("default")


def test_running_requests_finish_and_new_ones_are_refused(homes: Homes) -> None:
    daemon = homes.start()
    with Peer(daemon.endpoints[0]) as peer, ExitStack() as until_refused:
        engine = engine_pid(peer.status)
        for number in range(8):
            peer.send(endless(str(number), max_tokens=300, credit=65536))
        waiting = {str(number) for number in range(8)}
        for _ in waiting:
            while not isinstance(peer.next(), Accepted):
                pass
        until_refused.enter_context(frozen(engine))  # a quick one would be done before that
        with stopping():
            peer.send(question("late"))
            while waiting:
                reply = peer.next()
                if reply.id == "late":
                    assert isinstance(reply, Failure)
                    assert reply.code == "stopping"
                    late = reply
                    until_refused.close()
                elif isinstance(reply, Done | Failure):
                    assert isinstance(reply, Done), reply
                    assert reply.endings[0].finish_reason == "length"
                    waiting.remove(reply.id)
            assert late
    homes.check_nothing_left()


def test_others_are_answered_while_it_drains(homes: Homes) -> None:
    daemon = homes.start()
    with Peer(daemon.endpoints[0]) as peer, Peer(daemon.endpoints[0]) as other:
        peer.send(endless("1", n=4))
        peer.expect(Accepted)
        with stopping():
            assert other.status().state == "stopping"
            assert other.ask(SessionList(id="l"), Sessions).sessions == []
            peer.close()


def test_a_second_sigterm_ends_at_once(homes: Homes) -> None:
    daemon = homes.start()
    with Peer(daemon.endpoints[0]) as peer:
        peer.send(endless("1", n=8, credit=65536))
        peer.expect(Accepted)
        os.kill(daemon.pid, signal.SIGTERM)
        while peer.status().state != "stopping":
            pass
        os.kill(daemon.pid, signal.SIGTERM)
        last = peer.until_terminal("1")[-1]
        assert isinstance(last, Failure)
        assert last.code == "stopping"
    while daemon.alive:
        time.sleep(0.01)
    homes.check_nothing_left()


def test_stop_without_drain_does_not_wait(homes: Homes) -> None:
    daemon = homes.start()
    with Peer(daemon.endpoints[0]) as peer:
        peer.send(endless("1", n=8, credit=65536))
        peer.expect(Accepted)
        control.stop_daemon("default", drain=False)
        assert peer.until_terminal("1")[-1].id == "1"
    homes.check_nothing_left()


def test_readers_without_credit_are_told(homes: Homes) -> None:
    daemon = homes.start()
    with Peer(daemon.endpoints[0]) as peer:
        peer.send(endless("1", max_tokens=20, credit=0))
        peer.expect(Accepted)
        control.stop_daemon("default")
        error = peer.until_terminal("1")[-1]
        assert isinstance(error, Failure)
        assert error.code == "stopping"


def test_a_daemon_that_hangs_is_killed(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(control, "GRACE", 1.0)
    daemon = homes.start()
    os.kill(daemon.pid, signal.SIGSTOP)
    control.stop_daemon("default")
    assert not daemon.alive
    homes.check_nothing_left()


def test_the_children_of_a_killed_core_end(homes: Homes) -> None:
    daemon = homes.start()
    os.kill(daemon.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while homes.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert homes.processes() == []


def test_a_restart_has_another_boot_id(homes: Homes) -> None:
    first = homes.start()
    with Peer(first.endpoints[0]) as peer:
        control.stop_daemon("default")
        second = homes.start()
        assert second.boot_id != first.boot_id
        # The socket has connected again by itself, to a daemon that has never met it.
        peer.send(SessionList(id="l"))
        error = peer.expect(Failure)
        assert error.code == "hello_first"
