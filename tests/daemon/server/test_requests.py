"""Generations and their siblings on one connection."""

from __future__ import annotations

import pytest
from support.peer import Peer, endless, question, tokens
from support.served import Served

from glmd.facts import DaemonFacts
from glmd.wire.replies import (
    Accepted,
    Delta,
    Detokenized,
    Done,
    Failure,
    Ok,
    Progress,
    Session,
    Sessions,
    Tokens,
)
from glmd.wire.requests import (
    Cancel,
    Detokenize,
    SessionDelete,
    SessionGet,
    SessionList,
    SessionNew,
    SessionRename,
    Tokenize,
)
from glmd.wire.sampling import Sampling


def test_the_order_of_a_stream(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(question("1", max_tokens=30))
        told = peer.until_terminal("1")
        kinds = [type(reply) for reply in told]
        assert kinds[0] is Accepted
        assert kinds[-1] is Done
        first = kinds.index(Delta)
        assert set(kinds[1:first]) <= {Progress}
        deltas = [reply for reply in told if isinstance(reply, Delta)]
        assert [delta.seq for delta in deltas] == list(range(len(deltas)))
        assert isinstance(told[-1], Done)
        assert told[-1].seq == len(deltas)
        assert told[-1].usage.completion_tokens == len(tokens(told))


def test_streams_share_a_connection(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        requests = [
            endless(str(seed), max_tokens=40, sampling=Sampling(seed=seed)) for seed in range(8)
        ]
        alone = []
        for request in requests:
            peer.send(request)
            alone.append(tokens(peer.until_terminal(request.id)))
        peer.send(*requests)
        told = {request.id: [] for request in requests}
        ended = 0
        while ended < len(requests):
            reply = peer.next()
            told[reply.id].append(reply)
            ended += isinstance(reply, Done | Failure)
        assert [tokens(told[request.id]) for request in requests] == alone


def test_credit_changes_the_deltas_and_not_the_tokens(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(endless("all", max_tokens=200, sampling=Sampling(seed=4), credit=65536))
        everything = peer.until_terminal("all")
        peer.send(endless("few", max_tokens=200, sampling=Sampling(seed=4), credit=3))
        told = [peer.expect(Accepted)]
        while not isinstance(told[-1], Done):
            told.append(peer.next())
            if isinstance(told[-1], Delta) and told[-1].seq >= 2:
                from glmd.wire.requests import GrantCredit

                peer.send(GrantCredit(id="c", target="few", n=1))
        assert tokens(told) == tokens(everything)


def test_an_id_in_use_is_refused_and_the_request_goes_on(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(question("1"))
        generation = served.generation("1")
        peer.send(question("1"))
        assert peer.expect(Failure).code == "duplicate_id"
        generation.accept()
        generation.finish()
        assert isinstance(peer.until_terminal("1")[-1], Done)
        peer.send(question("1"))
        served.generation("1").accept()
        peer.expect(Accepted)


def test_too_many_at_once(served: Served) -> None:
    with Peer(served.endpoint) as peer:
        peer.send(*(question(str(number)) for number in range(257)))
        error = peer.expect(Failure)
        assert (error.id, error.code) == ("256", "busy")
        assert error.retry_after_ms is not None


def test_cancel_ends_with_done(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(endless("1", n=4, credit=65536))
        peer.expect(Accepted)
        peer.send(Cancel(id="c", target="1"), Cancel(id="d", target="1"))
        last = peer.until_terminal("1")[-1]
        assert isinstance(last, Done)
        assert {ending.finish_reason for ending in last.endings} == {"cancelled"}
        assert peer.ask(Cancel(id="e", target="1"), Ok)
        assert peer.ask(Cancel(id="f", target="never was"), Ok)
        assert peer.status().running == 0


def test_a_wrong_field_is_named(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(question("1", sampling={"top_p": 3.0}))
        error = peer.expect(Failure)
        assert (error.id, error.code) == ("1", "invalid_request")
        assert "sampling.top_p" in error.message


def test_text_to_ids_and_back(shared_daemon: DaemonFacts) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        ids = peer.ask(Tokenize(id="1", text="你好, world"), Tokens)
        assert len(ids.tokens) == len(ids.pieces) > 2
        assert peer.ask(Detokenize(id="2", tokens=ids.tokens), Detokenized).text == "你好, world"
        prompt = peer.ask(Tokenize(id="3", messages=question("x").messages), Tokens)
        assert "<|user|>" in prompt.pieces
        peer.send(Tokenize(id="4"))
        assert peer.expect(Failure).code == "invalid_request"


def test_sessions_belong_to_their_principal(shared_daemon: DaemonFacts) -> None:
    with (
        Peer(shared_daemon.endpoints[0], principal="alice") as alice,
        Peer(shared_daemon.endpoints[0], principal="bob") as bob,
    ):
        made = alice.ask(SessionNew(id="1", title="mine"), Session).info
        alice.send(question("2", session=made.session, max_tokens=5))
        accepted, *_, done = alice.until_terminal("2")
        assert isinstance(accepted, Accepted)
        assert isinstance(done, Done)
        session = alice.ask(SessionGet(id="3", session=made.session), Session)
        assert [message.message for message in session.tree] == [
            accepted.message,
            done.endings[0].message,
        ]
        alice.ask(SessionRename(id="4", session=made.session, title="new"), Ok)
        assert [s.title for s in alice.ask(SessionList(id="5"), Sessions).sessions] == ["new"]
        assert bob.ask(SessionList(id="1"), Sessions).sessions == []
        bob.send(SessionGet(id="2", session=made.session))
        assert bob.expect(Failure).code == "not_found"
        assert bob.ask(SessionList(id="3", principal="alice"), Sessions).sessions != []
        alice.ask(SessionDelete(id="6", session=made.session), Ok)
        alice.send(SessionDelete(id="7", session=made.session))
        assert alice.expect(Failure).code == "not_found"


@pytest.mark.parametrize("n", [1, 5])
def test_answers_to_one_prompt(shared_daemon: DaemonFacts, n: int) -> None:
    with Peer(shared_daemon.endpoints[0]) as peer:
        peer.send(endless("1", n=n, max_tokens=10, logprobs=2, sampling=Sampling(seed=1)))
        told = peer.until_terminal("1")
        assert {len(tokens(told, choice)) for choice in range(n)} == {10}
        done = told[-1]
        assert isinstance(done, Done)
        assert [ending.choice for ending in done.endings] == list(range(n))
