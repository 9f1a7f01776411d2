"""A client is gone from one moment to the next: what it asked for ends with it (P3, P4)."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from support.client_process import ClientProcess
from support.daemons import Launch
from support.engine_processes import engine_pid, frozen, until
from support.peer import Peer, endless, question, tokens

from glmd.facts import DaemonFacts
from glmd.wire.replies import Accepted, Done, Progress
from glmd.wire.requests import Attach
from glmd.wire.sampling import Sampling


def idle(watcher: Peer, seconds: float = 5.0) -> float:
    """Seconds until nothing runs or waits and only the watcher is connected."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        status = watcher.status()
        busy = sum(replica.slots_busy for replica in status.replicas)
        if (status.running, status.queued, status.clients, busy) == (0, 0, 1, 0):
            return time.monotonic() - started
    raise AssertionError(f"still busy: {status}")


@pytest.mark.parametrize("credit", [65536, 3], ids=["streaming", "without credit"])
def test_killed_mid_stream(shared_daemon: DaemonFacts, credit: int) -> None:
    """Without credit nothing is sent to it, and its end is seen all the same."""
    endpoint = shared_daemon.endpoints[0]
    with Peer(endpoint) as watcher:
        for _ in range(3):
            with ClientProcess(endpoint, endless("1", n=8, credit=credit)) as client:
                client.underway()
                assert watcher.status().running == 1
                client.signal(signal.SIGKILL)
                idle(watcher)


def test_killed_while_it_waits(launch: Launch) -> None:
    """The request of a dead client never runs. The engine is held meanwhile: what keeps the others
    waiting would else be over before their client has started."""
    endpoint = launch(slots=1).endpoints[0]
    with Peer(endpoint) as busy, Peer(endpoint) as watcher:
        busy.send(endless("1", credit=65536))
        busy.expect(Accepted)
        with (
            frozen(engine_pid(watcher.status)),
            ClientProcess(endpoint, *(question(str(n)) for n in range(5))) as client,
        ):
            served = until(watcher.status, lambda status: status.queued == 5).requests_served
            client.signal(signal.SIGKILL)
            until(watcher.status, lambda status: status.queued == 0)
        assert isinstance(busy.until_terminal("1")[-1], Done)
        assert watcher.status().requests_served == served + 1


def test_a_detached_request_outlives_its_client(shared_daemon: DaemonFacts) -> None:
    endpoint = shared_daemon.endpoints[0]
    request = endless("kept", max_tokens=400, sampling=Sampling(seed=2), detached=True)
    with Peer(endpoint) as peer:
        with ClientProcess(endpoint, request) as client:
            client.underway()
            client.signal(signal.SIGKILL)
        peer.send(Attach(id="a", target="kept", credit=65536))
        resumed = tokens(peer.until_terminal("a"))
        peer.send(endless("again", max_tokens=400, sampling=Sampling(seed=2), credit=65536))
        assert tokens(peer.until_terminal("again")) == resumed


def test_many_killed_clients_leave_nothing(shared_daemon: DaemonFacts) -> None:
    endpoint = shared_daemon.endpoints[0]

    def descriptors() -> int:
        return sum(1 for _ in Path(f"/proc/{shared_daemon.pid}/fd").iterdir())

    with Peer(endpoint) as watcher:
        before = descriptors()
        for _ in range(4):
            clients = [ClientProcess(endpoint, endless("1", n=2)) for _ in range(5)]
            for client in clients:
                client.underway()
            for client in clients:
                client.signal(signal.SIGKILL)
            for client in clients:
                client.__exit__(None, None, None)
        idle(watcher)
        # What looks plugins over ends by itself some time, and takes its own with it.
        until(descriptors, lambda now: now <= before)


def test_others_stream_on(shared_daemon: DaemonFacts) -> None:
    endpoint = shared_daemon.endpoints[0]
    request = endless("1", max_tokens=300, sampling=Sampling(seed=5), credit=65536)
    with Peer(endpoint) as peer:
        peer.send(request)
        alone = tokens(peer.until_terminal("1"))
        with ClientProcess(endpoint, endless("2", n=4)) as client:
            client.underway()
            peer.send(request)
            peer.expect(Accepted)
            client.signal(signal.SIGKILL)
            told = [reply for reply in peer.until_terminal("1") if not isinstance(reply, Progress)]
            assert tokens(told) == alone
