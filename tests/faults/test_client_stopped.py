"""A client that is there and does nothing: stopped, or asleep with its messages unread."""

from __future__ import annotations

import signal
import time

from support.client_process import ClientProcess
from support.engine_processes import until
from support.peer import Peer, endless, tokens

from glmd.daemon.server.socket import HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS
from glmd.facts import DaemonFacts
from glmd.wire.replies import Done, Failure
from glmd.wire.requests import Status
from glmd.wire.sampling import Sampling

# Heartbeats are sent every HEARTBEAT_MS, and one unanswered for HEARTBEAT_TIMEOUT_MS is the end.
NOTICED = (HEARTBEAT_MS + HEARTBEAT_TIMEOUT_MS) / 1000 + 5


def test_a_stopped_client_is_let_go(shared_daemon: DaemonFacts) -> None:
    endpoint = shared_daemon.endpoints[0]
    with (
        Peer(endpoint) as watcher,
        ClientProcess(endpoint, endless("1", n=8, credit=3)) as client,
    ):
        client.underway()
        client.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        while watcher.status().clients > 1:
            assert time.monotonic() - stopped < NOTICED
            time.sleep(0.05)
        assert watcher.status().running == 0


def test_others_do_not_wait_for_a_stopped_client(shared_daemon: DaemonFacts) -> None:
    endpoint = shared_daemon.endpoints[0]
    request = endless("1", max_tokens=500, sampling=Sampling(seed=3), credit=65536)
    with (
        Peer(endpoint) as peer,
        ClientProcess(endpoint, endless("2", n=4, credit=65536)) as client,
    ):
        client.underway()
        client.signal(signal.SIGSTOP)
        for _ in range(2):
            peer.send(request)
            told = peer.until_terminal("1")
            assert isinstance(told[-1], Done)
            assert len(tokens(told)) == 500


def test_a_client_that_does_not_read_gets_all_of_it_later(shared_daemon: DaemonFacts) -> None:
    """It granted credit for everything and sleeps; what it could not take was gathered."""
    endpoint = shared_daemon.endpoints[0]
    request = endless("1", sampling=Sampling(seed=3), credit=65536)
    with Peer(endpoint) as peer, Peer(endpoint, queued=1) as sleeper:
        peer.send(request)
        alone = tokens(peer.until_terminal("1"))
        # One of a client that was let go may still be counted.
        served = until(peer.status, lambda status: status.running == 0).requests_served
        sleeper.send(request)
        until(peer.status, lambda status: status.requests_served == served + 1)
        assert tokens(sleeper.until_terminal("1")) == alone


def test_a_client_that_asks_and_never_reads_is_let_go(shared_daemon: DaemonFacts) -> None:
    """Its answers would fill the daemon's memory."""
    endpoint = shared_daemon.endpoints[0]
    with Peer(endpoint) as watcher, Peer(endpoint, queued=1) as rude:
        answers = 0
        until(watcher.status, lambda status: status.clients == 2)
        while watcher.status().clients == 2:
            rude.send(*(Status(id=f"s{n}") for n in range(200)))
            answers += 200
            assert answers < 20_000
        # There is room for a last answer only where what came before has been read.
        while rude.hears(0.5):
            rude.next()
        assert rude.ask(Status(id="last"), Failure).code == "hello_first"
