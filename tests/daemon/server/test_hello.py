"""The first message of a connection, and what happens without it."""

from __future__ import annotations

import pytest
from support.peer import Peer, question

from glmd.facts import DaemonFacts
from glmd.wire.replies import Failure, Welcome
from glmd.wire.requests import Cancel, Hello, Request, SessionList, Status


def hello(lowest: int, highest: int) -> Hello:
    return Hello(id="h", protocol=(lowest, highest), client="test")


def test_the_daemon_says_who_it_is(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        assert peer.welcome.boot_id == shared_daemon.boot_id
        assert peer.welcome.pid == shared_daemon.pid
        assert peer.welcome.protocol == 1


@pytest.mark.parametrize(
    "early",
    [Status(id="1"), question("1"), SessionList(id="1"), Cancel(id="1", target="x")],
    ids=lambda r: type(r).__name__,
)
def test_nothing_is_answered_before_hello(shared_daemon: DaemonFacts, early: Request) -> None:
    with Peer(shared_daemon.endpoints[0], greet=False) as peer:
        peer.send(early)
        refusal = peer.expect(Failure)
        assert (refusal.id, refusal.code) == ("1", "hello_first")
        assert isinstance(peer.ask(hello(1, 1), Welcome), Welcome)


@pytest.mark.parametrize(("lowest", "highest"), [(0, 0), (2, 999), (5, 1), (-3, 0)])
def test_no_common_version(shared_daemon: DaemonFacts, lowest: int, highest: int) -> None:
    with Peer(shared_daemon.endpoints[0], greet=False) as peer:
        peer.send(hello(lowest, highest))
        refusal = peer.expect(Failure)
        assert refusal.code == "protocol_mismatch"
        assert "1 to 1" in refusal.message
        peer.send(Status(id="s"))
        assert peer.expect(Failure).code == "hello_first"


def test_the_highest_common_version_is_chosen(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0], greet=False) as peer:
        assert peer.ask(hello(0, 999), Welcome).protocol == 1


def test_a_second_hello_is_refused(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(hello(1, 1))
        assert peer.expect(Failure).code == "invalid_request"
        assert peer.status().clients == 1
