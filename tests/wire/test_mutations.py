"""A thousand broken messages of every operation: each is read or refused, with a sentence."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from support.mutations import corpus, mutated
from support.peer import Peer

from glmd.errors import Code
from glmd.facts import DaemonFacts
from glmd.wire.codec import Undecodable, decode_request, encode
from glmd.wire.replies import Reply, StatusReply
from glmd.wire.requests import Status

EACH = 1000
CORPUS = corpus()


@pytest.mark.parametrize("op", CORPUS)
def test_nothing_but_a_refusal_comes_out(op: str) -> None:
    refusals: list[Undecodable] = []
    for payload in islice(mutated(CORPUS[op], random.Random(op)), EACH):
        try:
            decode_request(payload)
        except Undecodable as error:
            refusals.append(error)
    assert len(refusals) > EACH // 4
    for refusal in refusals:
        assert refusal.code in {Code.BAD_MESSAGE, Code.INVALID_REQUEST}
        assert refusal.message.endswith(".")
        assert len(refusal.message) < 600
        encode(Reply(id=refusal.id))


@pytest.mark.parametrize("op", CORPUS)
def test_the_daemon_lives_through_them(shared_daemon: DaemonFacts, op: str) -> None:
    """The same at its socket, before and after hello; whatever it answers can be read."""
    with Peer(shared_daemon.endpoints[0]) as peer, Peer(shared_daemon.endpoints[0]) as other:
        for payload in islice(mutated(CORPUS[op], random.Random(op)), 200):
            peer.send_raw(payload)
        while not isinstance(reply := peer.ask(Status(id="last"), Reply), StatusReply):
            assert reply
        assert other.status().pid == shared_daemon.pid
