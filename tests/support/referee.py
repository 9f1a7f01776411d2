"""Watches one client's connection: every message must be one that the protocol allows now.

docs/protocol.md is what it enforces. Requests are known by the id they were sent under; what a
stream gave is kept by its name, so that all who read it, one after the other, are held to the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import zmq
from support.peer import Peer

from glmd.wire.codec import decode_reply
from glmd.wire.replies import (
    Accepted,
    AnyReply,
    Delta,
    Done,
    Failure,
    Ok,
    Progress,
    StatusReply,
    Text,
)
from glmd.wire.requests import Attach, Cancel, Chat, Complete, GrantCredit, Request, Status


@dataclass
class Told:
    """What a generation has said so far, to whoever read it. `given`: the deltas by number."""

    request: Chat | Complete
    given: dict[int, tuple[int, str, list[int]]] = field(default_factory=dict)
    ends: list[Done | Failure] = field(default_factory=list)
    cancelled: bool = False

    def tokens(self, choice: int = 0) -> list[int]:
        """In their order, as far as nothing is missing."""
        ids: list[int] = []
        for seq in range(len(self.given)):
            if seq not in self.given:
                break
            of, _, tokens = self.given[seq]
            ids += tokens if of == choice else []
        return ids


@dataclass
class Reading:
    """A stream as one connection reads it: `next`: the number of the delta to come."""

    told: Told
    next: int
    credit: int
    accepted: bool = False


class Watched:
    """A connection under watch. `readings`: streams without their last word, by request id."""

    def __init__(self, endpoint: str, principal: str) -> None:
        self._peer = Peer(endpoint, principal=principal)
        self.principal = principal
        self.readings: dict[str, Reading] = {}
        self._answers: dict[str, type[AnyReply]] = {}
        self._over: set[str] = set()

    def open(self, request: Chat | Complete) -> Told:
        told = Told(request)
        self.readings[request.id] = Reading(told, 0, request.credit)
        self._peer.send(request)
        return told

    def attach(self, request: Attach, told: Told) -> None:
        self.readings[request.id] = Reading(told, request.from_seq, request.credit)
        self._peer.send(request)

    def cancel(self, request_id: str, target: str) -> None:
        self.readings[target].told.cancelled = True
        self._ask(Cancel(id=request_id, target=target), Ok)

    def grant(self, target: str, n: int) -> None:
        """Also to a stream that is over, which is no fault: it may have ended meanwhile."""
        if target in self.readings:
            self.readings[target].credit += n
        self._peer.send(GrantCredit(id="credit", target=target, n=n))

    def ask_status(self, request_id: str) -> None:
        self._ask(Status(id=request_id), StatusReply)

    def _ask(self, request: Request, kind: type[AnyReply]) -> None:
        self._answers[request.id] = kind
        self._peer.send(request)

    def read(self, most: int = 1 << 30) -> int:
        """Take what is there, at most so many messages; how many there were."""
        for count in range(most):
            try:
                reply = decode_reply(self._peer.socket.recv(zmq.DONTWAIT))
            except zmq.Again:
                return count
            self._judge(reply)
        return most

    def wait(self) -> None:
        """Take one message, which must come."""
        self._judge(self._peer.next())

    @property
    def waiting(self) -> bool:
        return bool(self.readings or self._answers)

    def close(self) -> None:
        self._peer.close()

    # -- the rules -------------------------------------------------------------------------------

    def _judge(self, reply: AnyReply) -> None:
        assert reply.id not in self._over, f"after its last word: {reply}"
        if kind := self._answers.pop(reply.id, None):
            assert isinstance(reply, kind), reply
            self._over.add(reply.id)
            return
        assert reply.id in self.readings, f"nobody asked for {reply}"
        reading = self.readings[reply.id]
        judge: dict[type, Callable] = {
            Accepted: self._accepted,
            Progress: self._progress,
            Delta: self._delta,
            Done: self._done,
            Failure: self._failure,
        }
        assert type(reply) in judge, reply
        judge[type(reply)](reading, reply)

    def _accepted(self, reading: Reading, reply: Accepted) -> None:
        assert not reading.accepted, f"accepted twice: {reply}"
        assert reading.next == 0 or reading.told.given, "accepted after its deltas"
        reading.accepted = True

    def _progress(self, reading: Reading, reply: Progress) -> None:
        assert 0 <= reply.done <= max(reply.total, reply.done)

    def _delta(self, reading: Reading, reply: Delta) -> None:
        assert reading.accepted, f"before it was accepted: {reply}"
        assert reply.seq == reading.next, f"number {reading.next} should come: {reply}"
        assert reading.credit > 0, f"without credit: {reply}"
        assert isinstance(reply.content, Text)
        reading.next += 1
        reading.credit -= 1
        content = (reply.choice, reply.content.text, reply.content.tokens)
        known = reading.told.given.setdefault(reply.seq, content)
        assert known == content, f"said differently before: {known}, {reply}"

    def _done(self, reading: Reading, reply: Done) -> None:
        # A request cancelled before it was accepted has an end and nothing else.
        assert reading.accepted or reading.told.cancelled
        assert reply.seq == reading.next, f"{reading.next} deltas came: {reply}"
        assert [ending.choice for ending in reply.endings] == list(range(reading.told.request.n))
        self._end(reply)

    def _failure(self, reading: Reading, reply: Failure) -> None:
        assert reply.message
        self._end(reply)

    def _end(self, reply: Done | Failure) -> None:
        self._over.add(reply.id)
        self.readings.pop(reply.id).told.ends.append(reply)
