"""A detached request outlives its connection, and is taken up again by whoever opened it."""

from __future__ import annotations

from itertools import islice

import pytest
from support.engine_processes import until
from support.peer import Peer, endless, question, tokens
from support.served import Served

from glmd.daemon.server import server, stream
from glmd.facts import DaemonFacts
from glmd.wire.replies import Accepted, Delta, Done, Failure, Ok
from glmd.wire.requests import Attach, Cancel, GrantCredit
from glmd.wire.sampling import Sampling

SEEDED = Sampling(seed=11)


def test_a_stream_is_taken_up_by_another_connection(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(endless("reference", max_tokens=300, credit=65536, sampling=SEEDED))
        reference = tokens(peer.until_terminal("reference"))
        peer.send(endless("resumed", max_tokens=300, credit=65536, sampling=SEEDED, detached=True))
        peer.expect(Accepted)
        # What the pool's clock has it say of a prefill may come between.
        replies = iter(peer.next, None)
        begun = list(islice((reply for reply in replies if isinstance(reply, Delta)), 5))
    with Peer(shared_daemon.endpoints[0]) as other:
        other.send(Attach(id="b", target="resumed", from_seq=5, credit=65536))
        told = other.until_terminal("b")
        assert isinstance(told[0], Accepted)
        deltas = [reply for reply in told if isinstance(reply, Delta)]
        assert [delta.seq for delta in deltas] == list(range(5, 5 + len(deltas)))
        assert tokens([*begun, *deltas]) == reference
        assert isinstance(told[-1], Done)
        assert told[-1].seq == 5 + len(deltas)


def test_it_can_be_read_again_after_its_end(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(endless("reread", max_tokens=20, detached=True))
        first = tokens(peer.until_terminal("reread"))
        for attempt in ("b", "c"):
            peer.send(Attach(id=attempt, target="reread"))
            assert tokens(peer.until_terminal(attempt)) == first


def test_only_its_principal_finds_it(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0], principal="alice") as alice:
        alice.send(endless("owned", n=4, detached=True))
        alice.expect(Accepted)
        with Peer(shared_daemon.endpoints[0], principal="bob") as bob:
            bob.send(Attach(id="b", target="owned"))
            assert bob.expect(Failure).code == "not_found"
            bob.ask(Cancel(id="c", target="owned"), Ok)
            bob.send(Attach(id="d", target="owned", principal="alice"))
            bob.expect(Accepted)
            bob.ask(Cancel(id="e", target="owned", principal="alice"), Ok)
            assert isinstance(bob.until_terminal("d")[-1], Done)


def test_attaching_takes_the_stream_from_the_reader_it_has(served: Served) -> None:
    with Peer(served.endpoint) as first, Peer(served.endpoint) as second:
        first.send(question("a", detached=True))
        generation = served.generation("a")
        generation.accept()
        generation.say("x")
        first.expect(Accepted)
        first.expect(Delta)
        second.send(Attach(id="b", target="a"))
        error = first.expect(Failure)
        assert (error.id, error.code) == ("a", "taken_over")
        second.expect(Accepted)
        second.expect(Delta)
        generation.say("y")
        assert second.expect(Delta).seq == 1
        generation.finish()
        assert second.expect(Done).id == "b"
        assert not first.hears(0.1)
        assert not generation.cancelled.is_set()


def test_messages_are_replayed_within_credit(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("a", detached=True))
        generation = served.generation("a")
        generation.accept()
        generation.say("p", "q", "r")
        generation.finish()
        assert len(peer.until_terminal("a")) == 5
        peer.send(Attach(id="b", target="a", from_seq=1, credit=1))
        peer.expect(Accepted)
        assert peer.expect(Delta).seq == 1
        assert not peer.hears(0.1)
        peer.send(GrantCredit(id="c", target="b", n=9))
        assert peer.expect(Delta).seq == 2
        peer.expect(Done)


def test_cancel_does_not_wait_for_credit_to_replay_messages(served: Served) -> None:
    with Peer(served.endpoint) as first, Peer(served.endpoint) as second:
        first.send(question("1", detached=True))
        generation = served.generation("1")
        generation.accept()
        generation.say("a")
        first.expect(Accepted)
        first.expect(Delta)
        second.send(Attach(id="b", target="1", credit=0))
        second.expect(Accepted)
        second.send(Cancel(id="c", target="b"))
        last = second.until_terminal("b")[-1]
        assert isinstance(last, Done)
        assert last.seq == 0
        second.ask(Attach(id="d", target="1", credit=0), Accepted)
        assert not second.hears(0.1)
        second.send(GrantCredit(id="e", target="d", n=1))
        assert second.expect(Delta).seq == 0
        assert second.expect(Done).seq == 1


def test_deltas_that_were_never_made_cannot_be_asked_for(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("a", detached=True))
        generation = served.generation("a")
        generation.accept()
        generation.say("p")
        generation.finish()
        peer.until_terminal("a")
        peer.send(Attach(id="b", target="a", from_seq=2))
        assert peer.expect(Failure).code == "invalid_request"
        peer.send(Attach(id="b", target="a", from_seq=1))
        peer.expect(Accepted)
        assert peer.expect(Done).seq == 1


def test_old_messages_go_when_there_are_too_many(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEPT_BYTES", 10_000)
    with Peer(served.endpoint) as peer:
        peer.send(question("a", detached=True))
        generation = served.generation("a")
        generation.accept()
        for _ in range(100):
            generation.say("x" * 100)
        generation.finish()
        assert len(peer.until_terminal("a")) == 102
        peer.send(Attach(id="b", target="a"))
        error = peer.expect(Failure)
        assert (error.id, error.code) == ("b", "expired")
        peer.send(Attach(id="b", target="a", from_seq=99))
        assert [reply.id for reply in peer.until_terminal("b")] == ["b"] * 3


def test_a_stream_nobody_reads_is_bounded_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEPT_BYTES", 10_000)
    with Peer(served.endpoint) as peer:
        peer.send(question("a", detached=True))
        generation = served.generation("a")
        generation.accept()
        peer.expect(Accepted)
    until(lambda: served.run(lambda: served.server.clients), lambda clients: clients == 0)
    for _ in range(100):
        generation.say("x" * 100)
    assert generation.cancelled.wait(5)
    with Peer(served.endpoint) as peer:
        peer.send(Attach(id="b", target="a"))
        peer.expect(Accepted)
        assert peer.expect(Failure).code == "slow_client"


def test_a_detached_reader_without_credit_is_let_go_and_may_come_back(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CREDIT_TIMEOUT", 0.2)
    with Peer(served.endpoint) as peer:
        peer.send(question("a", credit=0, detached=True))
        generation = served.generation("a")
        generation.accept()
        generation.say("x")
        peer.expect(Accepted)
        assert peer.expect(Failure).code == "slow_client"
        generation.say("y")
        generation.finish()
        assert not generation.cancelled.is_set()
        peer.send(Attach(id="b", target="a"))
        told = peer.until_terminal("b")
        assert isinstance(told[-1], Done)
        assert tokens(told) == [1, 1]


def test_it_is_forgotten_some_time_after_its_end(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DETACHED_TTL", 0.0)
    with Peer(served.endpoint) as peer:
        peer.send(question("a", detached=True))
        generation = served.generation("a")
        generation.accept()
        generation.finish()
        peer.until_terminal("a")
        while True:
            peer.send(Attach(id="b", target="a"))
            last = peer.until_terminal("b")[-1]
            if isinstance(last, Failure):
                break
        assert last.code == "not_found"


def test_two_kept_requests_cannot_share_an_id(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("a", detached=True))
        served.generation("a").accept()
        peer.expect(Accepted)
    with Peer(served.endpoint) as peer:
        peer.send(question("a", detached=True))
        assert peer.expect(Failure).code == "duplicate_id"
        peer.send(question("a"))
        served.generation("a").accept()
        peer.expect(Accepted)
