"""One connection to a daemon, from hello to its loss. No socket, no clock, no thread."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from glmd.errors import ConnectionFailed, GlmdError, InvalidRequest, Refused
from glmd.frontends.python_api._answer import failure
from glmd.frontends.python_api._options import new_id
from glmd.wire import PROTOCOL_MAX, PROTOCOL_MIN
from glmd.wire.codec import Undecodable, decode_reply, encode
from glmd.wire.replies import AnyReply, Done, Event, Failure, Ok, Welcome
from glmd.wire.requests import (
    AnyRequest,
    Attach,
    Cancel,
    Chat,
    Complete,
    GrantCredit,
    Hello,
    Subscribe,
)

Item: TypeAlias = AnyReply | GlmdError
Side: TypeAlias = Cancel | GrantCredit


def is_detached(request: AnyRequest) -> bool:
    return isinstance(request, Chat | Complete) and request.detached


class Exchange:
    """A request and where its replies go. `put` gets each of them, or the error that ends it; it is
    called by whoever drives the connection and must not wait. `heard`: the daemon has replied."""

    def __init__(self, request: AnyRequest, put: Callable[[Item], None]) -> None:
        self.request = request
        self.put = put
        self.heard = False

    def ended_by(self, reply: AnyReply) -> bool:
        if isinstance(reply, Failure):
            return True
        if isinstance(self.request, Chat | Complete | Attach):
            return isinstance(reply, Done)
        return not isinstance(self.request, Subscribe) or not isinstance(reply, Event | Ok)


class Connection:
    """Frames in, frames out. Requests wait for the daemon's welcome; `outbox` is what to send."""

    def __init__(self, principal: str | None) -> None:
        self.welcome: Welcome | None = None
        hello = Hello(
            id=new_id(),
            protocol=(PROTOCOL_MIN, PROTOCOL_MAX),
            client=f"python {os.getpid()}",
            principal=principal,
        )
        self.outbox = deque([encode(hello)])
        self._hello = hello.id
        self._running: dict[str, Exchange] = {}
        self._waiting: list[AnyRequest] = []

    @property
    def owes(self) -> bool:
        """There is a detached request of which nobody knows yet whether the daemon has it."""
        return any(
            is_detached(exchange.request) and not exchange.heard
            for exchange in self._running.values()
        )

    def open(self, exchange: Exchange) -> None:
        """Send a request and route its replies."""
        self._running[exchange.request.id] = exchange
        self._send(exchange.request)

    def tell(self, request: Side) -> None:
        """Send what concerns a running request; the answer to it, if any, is dropped."""
        if request.target in self._running:
            self._send(request)

    def receive(self, frame: bytes) -> None:
        """Take a message of the daemon. Raises GlmdError when the connection is of no more use."""
        try:
            reply = decode_reply(frame)
        except Undecodable:
            return  # of a newer daemon: the protocol asks clients to skip what they do not know
        if isinstance(reply, Welcome):
            self._greeted(reply)
            return
        exchange = self._running.get(reply.id)
        if exchange is None:
            self._about_the_connection(reply)
            return
        if exchange.ended_by(reply):
            del self._running[reply.id]
        exchange.heard = True
        exchange.put(reply)

    def lose(self, error: GlmdError) -> None:
        """The connection is gone: every request on it ends with `error`."""
        running, self._running = self._running, {}
        for exchange in running.values():
            exchange.put(error)

    def _send(self, request: AnyRequest) -> None:
        if self.welcome is None:
            self._waiting.append(request)
            return
        frame = encode(request)
        limit = self.welcome.limits.max_message
        if len(frame) > limit:
            exchange = self._running.pop(request.id)
            exchange.put(
                InvalidRequest(
                    f"The request has {len(frame)} bytes, and the daemon takes {limit}.",
                    hint="Send a shorter text.",
                )
            )
            return
        self.outbox.append(frame)

    def _greeted(self, welcome: Welcome) -> None:
        if not PROTOCOL_MIN <= welcome.protocol <= PROTOCOL_MAX:
            raise Refused(
                f"The daemon speaks protocol {welcome.protocol}, "
                f"this client {PROTOCOL_MIN} to {PROTOCOL_MAX}.",
                hint="Install the same version of glmd on both sides.",
            )
        self.welcome = welcome
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            self._send(request)

    def _about_the_connection(self, reply: AnyReply) -> None:
        if not isinstance(reply, Failure):
            return  # late news of a request that was given up here
        if reply.id == self._hello:
            raise failure(reply)
        if reply.code == "hello_first":
            raise ConnectionFailed("The daemon was restarted.", hint="Ask again.")
