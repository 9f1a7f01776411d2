"""An engine child driven by hand: commands in, events out, nothing in between."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from glmd.daemon.engine import transport
from glmd.daemon.engine.messages import (
    AnyEvent,
    Command,
    Failed,
    Load,
    Prefilled,
    Ready,
    Step,
    Stop,
    Submit,
    Token,
)
from glmd.daemon.plugins.breadcrumb import Breadcrumb
from glmd.wire.sampling import Stage

GREEDY = [Stage("top_k", {"k": 1})]
PATIENCE = 240.0  # seconds for an event: the simulator is slow, and machines are busy

RANDOM = [Stage("top_p", {"p": 0.95}), Stage("temperature", {"temperature": 1.0})]

# The default chain.
DEFAULT = [
    Stage("top_k", {"k": 50}),
    Stage("top_p", {"p": 0.8}),
    Stage("temperature", {"temperature": 0.8}),
]

E = TypeVar("E", bound=AnyEvent)


def prompt(n: int, seed: int = 0, vocab: int = 320) -> list[int]:
    """`n` random ids."""
    return np.random.default_rng(seed).integers(3, vocab, n).tolist()


def submit(id: int, tokens: list[int], max_tokens: int = 8, **fields) -> Submit:
    return Submit(
        **{
            "id": id,
            "prompt": tokens,
            "choices": [(0, [])],
            "stages": RANDOM,
            "seed": id,
            "stop_ids": [],
            "max_tokens": max_tokens,
        }
        | fields
    )


class EngineChild:
    """`python -m glmd.daemon.engine` on a socket pair. `events`: all that was received."""

    def __init__(self, model: Path, **load) -> None:
        ours, theirs = socket.socketpair()
        page = Breadcrumb.create()
        fds = [theirs.fileno(), page.fd]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "glmd.daemon.engine", *map(str, fds)],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        page.close()
        ours.settimeout(PATIENCE)
        self.socket = ours
        self.events: list[AnyEvent] = []
        self._decoder = transport.events()
        self._unread: list[AnyEvent] = []
        self._unfinished: dict[int, int] = {}  # request: choices that have not ended
        self.send(Load(str(model), **({"backend": "cpu", "mode": "f16", "threads": 1} | load)))

    def send(self, *commands: Command) -> None:
        for command in commands:
            if isinstance(command, Submit):
                self._unfinished[command.id] = len(command.choices)
        self.socket.sendall(b"".join(transport.encode(command) for command in commands))

    def receive(self) -> AnyEvent:
        """The next event. Raises EOFError when the child has gone."""
        while not self._unread:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError("the engine child has gone")
            self._unread += self._decoder.feed(data)
        event = self._unread.pop(0)
        for token in event.tokens if isinstance(event, Step) else []:
            self._unfinished[token.id] -= token.finish is not None
        self.events.append(event)
        return event

    def hear(self) -> None:
        """Receive what has been sent so far."""
        while self._unread or select.select([self.socket], [], [], 0)[0]:
            self.receive()

    def until(self, kind: type[E], accept: Callable[[E], bool] = lambda event: True) -> E:
        """Receive up to and including the first event of a kind that is accepted."""
        while True:
            event = self.receive()
            if isinstance(event, kind) and accept(event):
                return event

    def ready(self) -> Ready:
        return self.until(Ready)

    def answers(self, *ids: int) -> dict[tuple[int, int], list[Token]]:
        """Run until every choice of these requests has ended; the tokens of each."""
        while any(self._unfinished[id] for id in ids):
            event = self.receive()
            if isinstance(event, Failed) and event.id in ids:
                raise AssertionError(f"request {event.id} failed: {event.message}")
        return {key: tokens for key, tokens in self.given().items() if key[0] in ids}

    def given(self) -> dict[tuple[int, int], list[Token]]:
        """The tokens received so far, by request and choice."""
        tokens: dict[tuple[int, int], list[Token]] = {}
        for event in self.events:
            for token in event.tokens if isinstance(event, Step) else []:
                tokens.setdefault((token.id, token.choice), []).append(token)
        return tokens

    def run(self, *submits: Submit) -> dict[tuple[int, int], list[int]]:
        """Submit together, wait for all: the ids each choice was answered with."""
        self.send(*submits)
        answers = self.answers(*(s.id for s in submits))
        return {key: [token.token for token in tokens] for key, tokens in answers.items()}

    def cached(self, id: int) -> int:
        """How much of a request's prompt was found in a KV cache."""
        return next(e.cached for e in self.events if isinstance(e, Prefilled) and e.id == id)

    def ended_within(self, seconds: float) -> bool:
        fd = os.pidfd_open(self.process.pid)
        try:
            return bool(select.select([fd], [], [], seconds)[0])
        finally:
            os.close(fd)

    def close(self) -> None:
        self.socket.close()
        if self.process.poll() is None and not self.ended_within(5):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def engine_child(model: Path, **load) -> Iterator[EngineChild]:
    child = EngineChild(model, **load)
    try:
        yield child
        if child.process.poll() is None:
            child.send(Stop())
        assert child.process.wait(10) == 0
    finally:
        child.close()
