"""A client without any manners: it sends what it is told, and shows everything that comes back."""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

import zmq

from glmd.chat import Message
from glmd.keys import KeyPair
from glmd.wire.codec import decode_reply, encode
from glmd.wire.replies import (
    AnyReply,
    Delta,
    Done,
    Failure,
    Reply,
    StatusReply,
    Text,
    Welcome,
)
from glmd.wire.requests import Chat, Complete, Hello, Request, Status

PATIENCE = 20.0  # seconds, for a machine that is busy with other things
R = TypeVar("R", bound=Reply)


class Peer:
    """A DEALER socket. `greet=False`: it has not said hello."""

    def __init__(
        self,
        endpoint: str,
        *,
        greet: bool = True,
        principal: str | None = None,
        keys: tuple[KeyPair, bytes] | None = None,
        queued: int = 1000,
    ) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.setsockopt(zmq.RCVHWM, queued)
        if keys is not None:
            own, server = keys
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, server)
        self.socket.connect(endpoint)
        if greet:
            hello = Hello(id="hello", protocol=(1, 1), client="peer", principal=principal)
            try:
                self.welcome = self.ask(hello, Welcome)
            except BaseException:
                self.close()
                raise

    def send(self, *requests: Request) -> None:
        for request in requests:
            self.socket.send(encode(request))

    def send_raw(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def hears(self, seconds: float = PATIENCE) -> bool:
        """Whether anything comes within that time."""
        return bool(self.socket.poll(round(seconds * 1000)))

    def next(self, seconds: float = PATIENCE) -> AnyReply:
        """The next message of any kind."""
        if not self.hears(seconds):
            raise TimeoutError("the daemon said nothing")
        return decode_reply(self.socket.recv())

    def expect(self, kind: type[R], seconds: float = PATIENCE) -> R:
        """The next message, which must be of this kind."""
        reply = self.next(seconds)
        assert isinstance(reply, kind), reply
        return reply

    def ask(self, request: Request, kind: type[R]) -> R:
        """Send and wait for the answer to it, whatever else comes in between."""
        self.send(request)
        while True:
            reply = self.next()
            if reply.id == request.id:
                assert isinstance(reply, kind), reply
                return reply

    def status(self) -> StatusReply:
        return self.ask(Status(id="status"), StatusReply)

    def until_terminal(self, request_id: str, seconds: float = PATIENCE) -> list[AnyReply]:
        """Everything said to a request, up to its `done` or `error`."""
        told: list[AnyReply] = []
        while True:
            reply = self.next(seconds)
            if reply.id == request_id:
                told.append(reply)
                if isinstance(reply, Done | Failure):
                    return told

    def close(self) -> None:
        self.socket.close()
        self._context.term()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def question(request_id: str, text: str = "你好", **fields: object) -> Chat:
    return Chat(id=request_id, messages=[Message("user", text)], **fields)  # type: ignore[arg-type]


def endless(request_id: str, **fields: object) -> Complete:
    """A generation that goes on until something stops it or the context is full."""
    return Complete(id=request_id, prompt="a", ignore_eos=True, **fields)  # type: ignore[arg-type]


def tokens(told: list[AnyReply], choice: int = 0) -> list[int]:
    """The ids of one choice, in the order they came."""
    return [
        token
        for delta in told
        if isinstance(delta, Delta) and delta.choice == choice and isinstance(delta.content, Text)
        for token in delta.content.tokens
    ]
