"""One client at the socket: who it is, what it asked for, what it has not taken yet."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from glmd.daemon.server.socket import Router, Sent
from glmd.wire import codec
from glmd.wire.replies import Reply
from glmd.wire.requests import Hello

if TYPE_CHECKING:
    from glmd.daemon.server.stream import Stream
    from glmd.daemon.server.topics import Subscription

OUTBOX = 1024  # replies a client may leave unread beside those ZeroMQ holds for it
LIVE_REQUESTS = 256  # a connection may have at once


class Connection:
    """`lost`: the client is gone; nothing is sent any more. `stuck`: it did not take the last
    message. `served`: a request of its was accepted. `local`: it came through the UNIX socket.

    `streams` and `answers` hold its live requests by id: generations, and replies being worked on.
    """

    def __init__(
        self,
        router: Router,
        peer: bytes,
        fd: int,
        hello: Hello,
        on_lost: Callable[[Connection], None],
    ) -> None:
        """`on_lost` is called from the event loop, once, should sending show that it is gone."""
        self._router = router
        self._on_lost = on_lost
        self._outbox: deque[bytes] = deque()
        self.peer = peer
        self.fd = fd
        self.local = _is_local(fd)
        self.client = hello.client
        self.principal = hello.principal or "local"
        self.streams: dict[str, Stream] = {}
        self.answers: dict[str, asyncio.Task[None]] = {}
        self.subscription: Subscription | None = None
        self.served = False
        self.lost = False
        self.stuck = False

    @property
    def overflowing(self) -> bool:
        return len(self._outbox) > OUTBOX

    def uses(self, request_id: str) -> bool:
        return (
            request_id in self.streams
            or request_id in self.answers
            or (self.subscription is not None and self.subscription.id == request_id)
        )

    def offer(self, reply: Reply) -> bool:
        """Send what may as well be sent later: False when the client takes nothing now."""
        if self.lost or self._outbox:
            return False
        return self._transmit(codec.encode(reply))

    def send(self, reply: Reply) -> None:
        """Send what must arrive: kept until the client takes it."""
        if not self.lost:
            self._outbox.append(codec.encode(reply))
            self.flush()

    def flush(self) -> None:
        while self._outbox and self._transmit(self._outbox[0]):
            self._outbox.popleft()

    def _transmit(self, payload: bytes) -> bool:
        sent = Sent.GONE if self.lost else self._router.send(self.peer, payload)
        if sent is Sent.GONE and not self.lost:
            self.lost = True
            asyncio.get_running_loop().call_soon(self._on_lost, self)
        self.stuck = sent is Sent.FULL
        return sent is Sent.YES


def _is_local(fd: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as same:
            return same.family == socket.AF_UNIX
    except OSError:
        return False  # it has just ended
