"""A peer that speaks the protocol by a script: for what a healthy daemon never does.

It is a real ROUTER socket in a thread. The script is a function that is given each request and
sends what it likes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

import zmq

from glmd.wire.codec import decode_request, encode
from glmd.wire.replies import (
    Accepted,
    AnyReply,
    Delta,
    Done,
    Ending,
    Limits,
    Text,
    Timings,
    Usage,
    Welcome,
)
from glmd.wire.requests import AnyRequest, Hello

USAGE = Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=0)
TIMINGS = Timings(
    queue_ms=0.0, prefill_ms=1.0, first_token_ms=2.0, total_ms=3.0, tokens_per_second=4.0
)
LIMITS = Limits(max_message=1 << 20, max_queue=64, credit_timeout=30.0, detached_ttl=300.0)


def welcome(hello: Hello, *, protocol: int = 1, limits: Limits = LIMITS) -> Welcome:
    return Welcome(
        id=hello.id, protocol=protocol, server="scripted", boot_id="b", pid=1, limits=limits
    )


def accepted(request: AnyRequest) -> Accepted:
    return Accepted(id=request.id, prompt_tokens=3, seed=7)


def text(request: AnyRequest, seq: int, piece: str, choice: int = 0) -> Delta:
    return Delta(id=request.id, seq=seq, choice=choice, content=Text(text=piece, tokens=[seq]))


def done(request: AnyRequest, seq: int, reason: str = "stop", choices: int = 1) -> Done:
    endings = [Ending(choice=c, finish_reason=reason) for c in range(choices)]  # type: ignore[arg-type]
    return Done(id=request.id, seq=seq, endings=endings, usage=USAGE, timings=TIMINGS)


R = TypeVar("R")

Script: TypeAlias = Callable[["ScriptedDaemon", AnyRequest], None]


class ScriptedDaemon:
    """`received`: every request, hello included. Answers hello itself if it `greets`."""

    def __init__(self, folder: Path, script: Script, *, greets: bool = True) -> None:
        self.endpoint = f"ipc://{folder / 'peer.sock'}"
        self.received: list[AnyRequest] = []
        self._script = script
        self._greets = greets
        self._peer = b""
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.linger = 1000
        self._router.bind(self.endpoint)
        self._ending = threading.Event()
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> ScriptedDaemon:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Vanish, as a daemon that was killed does."""
        self._ending.set()
        self._thread.join()
        self._context.term()

    def leave(self) -> None:
        """From within the script: end once it returns."""
        self._ending.set()

    def say(self, *replies: AnyReply | bytes) -> None:
        """From within the script: send to whoever sent the request."""
        for reply in replies:
            frame = reply if isinstance(reply, bytes) else encode(reply)
            self._router.send_multipart([self._peer, frame])

    def heard(self, kind: type[R], count: int = 1) -> list[R]:
        """Wait until `count` requests of a kind have come; all of them."""
        with self._news:
            assert self._news.wait_for(lambda: len(self._of(kind)) >= count, timeout=10), (
                f"{count} {kind.__name__} did not come: {self.received}"
            )
            return self._of(kind)

    def _of(self, kind: type[R]) -> list[R]:
        return [request for request in self.received if isinstance(request, kind)]

    def _run(self) -> None:
        with self._router:
            while not self._ending.is_set():
                if not self._router.poll(20):
                    continue
                self._peer, payload = self._router.recv_multipart()
                request = decode_request(payload)
                with self._news:
                    self.received.append(request)
                    self._news.notify_all()
                if isinstance(request, Hello) and self._greets:
                    self.say(welcome(request))
                else:
                    self._script(self, request)
