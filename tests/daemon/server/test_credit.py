"""A stream goes at the pace of its reader, and nobody waits for it."""

from __future__ import annotations

import pytest
from support.peer import Peer, question
from support.served import Served

from glmd.daemon.server import stream
from glmd.wire.replies import Accepted, AnyReply, Delta, Done, Failure, Text
from glmd.wire.requests import Cancel, GrantCredit


def texts(told: list[AnyReply]) -> list[str]:
    return [d.content.text for d in told if isinstance(d, Delta) and isinstance(d.content, Text)]


def test_without_credit_text_is_gathered_into_one_delta(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=2))
        generation = served.generation("1")
        generation.accept()
        generation.say("a", "b", "c", "d", "e")
        peer.expect(Accepted)
        assert texts([peer.expect(Delta), peer.expect(Delta)]) == ["a", "b"]
        generation.say("f")
        assert not peer.hears(0.1)
        peer.send(GrantCredit(id="c", target="1", n=1))
        delta = peer.expect(Delta)
        assert delta.seq == 2
        assert delta.content == Text("cdef", [1, 1, 1, 1])


def test_the_end_waits_for_the_text_before_it(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=0))
        generation = served.generation("1")
        generation.accept()
        generation.say("a", "b")
        generation.finish()
        peer.expect(Accepted)
        assert not peer.hears(0.1)
        peer.send(GrantCredit(id="c", target="1", n=5))
        assert texts([peer.expect(Delta)]) == ["ab"]
        assert peer.expect(Done).seq == 1


def test_choices_are_gathered_apart(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=0, n=2))
        generation = served.generation("1")
        generation.accept()
        for text in "abc":
            generation.say(text, choice=0)
            generation.say(text.upper(), choice=1)
        peer.expect(Accepted)
        peer.send(GrantCredit(id="c", target="1", n=2))
        first, second = peer.expect(Delta), peer.expect(Delta)
        assert [(d.choice, d.seq) for d in (first, second)] == [(0, 0), (1, 1)]
        assert texts([first, second]) == ["abc", "ABC"]


def test_cancel_does_not_wait_for_credit(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=1))
        generation = served.generation("1")
        generation.accept()
        generation.say("a", "b", "c")
        peer.expect(Accepted)
        peer.expect(Delta)
        peer.send(Cancel(id="c", target="1"))
        told = peer.until_terminal("1")
        assert isinstance(told[-1], Done)
        assert told[-1].seq == 1


def test_cancel_after_the_end_does_not_wait_for_credit_either(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=0))
        generation = served.generation("1")
        generation.accept()
        generation.say("a")
        generation.finish()
        peer.expect(Accepted)
        peer.send(Cancel(id="c", target="1"))
        last = peer.until_terminal("1")[-1]
        assert isinstance(last, Done)
        assert (last.seq, last.endings[0].finish_reason) == (0, "stop")


def test_credit_for_an_unknown_request_is_ignored(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(GrantCredit(id="c", target="nobody", n=5), question("1"))
        served.generation("1").accept()
        peer.expect(Accepted)


def test_who_gives_no_credit_for_too_long_is_cancelled(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CREDIT_TIMEOUT", 0.2)
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=1))
        generation = served.generation("1")
        generation.accept()
        generation.say("a", "b")
        peer.expect(Accepted)
        peer.expect(Delta)
        error = peer.expect(Failure)
        assert (error.id, error.code) == ("1", "slow_client")
        assert generation.cancelled.wait(5)
        assert not peer.hears(0.2)


def test_a_reader_with_nothing_to_read_is_not_slow(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CREDIT_TIMEOUT", 0.2)
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=1))
        generation = served.generation("1")
        generation.accept()
        generation.say("a")
        peer.expect(Accepted)
        peer.expect(Delta)
        assert not peer.hears(1.5)
        generation.finish()
        assert peer.expect(Done).seq == 1


def test_what_waits_for_credit_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "GATHERED_BYTES", 10_000)
    with Peer(served.endpoint) as peer:
        peer.send(question("1", credit=0))
        generation = served.generation("1")
        generation.accept()
        peer.expect(Accepted)
        for _ in range(200):
            generation.say("x" * 100)
        error = peer.expect(Failure)
        assert error.code == "slow_client"
        assert generation.cancelled.is_set()


def test_a_client_that_does_not_read_its_socket_is_like_one_without_credit(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has granted more than ZeroMQ and the kernel can hold for it."""
    monkeypatch.setattr(stream, "CREDIT_TIMEOUT", 0.5)
    with Peer(served.endpoint, queued=1) as peer:
        peer.send(question("1", credit=65536))
        generation = served.generation("1")
        generation.accept()
        texts = ["x" * 1000] * 5000
        generation.say(*texts)
        assert generation.cancelled.wait(10)
        told = peer.until_terminal("1")
        deltas = [reply for reply in told if isinstance(reply, Delta)]
        assert [delta.seq for delta in deltas] == list(range(len(deltas)))
        assert len(deltas) < 5000
        assert isinstance(told[-1], Failure)
        assert told[-1].code == "slow_client"


def test_a_slow_reader_gets_everything_in_fewer_deltas(served: Served) -> None:
    with Peer(served.endpoint, queued=1) as peer:
        peer.send(question("1", credit=65536))
        generation = served.generation("1")
        generation.accept()
        for start in range(0, 6000, 100):
            generation.say(*(f"{number} " for number in range(start, start + 100)))
        generation.finish()
        told = peer.until_terminal("1")
        deltas = [reply for reply in told if isinstance(reply, Delta)]
        assert [delta.seq for delta in deltas] == list(range(len(deltas)))
        assert len(deltas) < 6000
        assert "".join(texts(told)).split() == [str(number) for number in range(6000)]
        assert isinstance(told[-1], Done)
