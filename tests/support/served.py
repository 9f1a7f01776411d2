"""The server alone, on a real socket, with generations that do what a test says when it says it.

For what depends on the very order and time of tokens; the rest of the tests run a whole daemon.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support.daemons import Homes

from glmd.daemon.request.outlet import Outlet
from glmd.daemon.server.server import Server
from glmd.errors import Unsupported
from glmd.wire.replies import Ending, Reply, StatusReply, Text, Timings, Usage
from glmd.wire.requests import AnyRequest, Chat, Complete

USAGE = Usage(1, 1, 0)
TIMINGS = Timings(0.0, 0.0, 0.0, 0.0, 0.0)
T = TypeVar("T")


class Generation:
    """A generation in the hands of the test; every method may be called from any thread."""

    def __init__(self, outlet: Outlet, loop: asyncio.AbstractEventLoop) -> None:
        self._outlet = outlet
        self._loop = loop
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()
        self._outlet.done(
            endings=[Ending(0, "cancelled")], usage=USAGE, timings=TIMINGS, prompt_logprobs=[]
        )

    def accept(self) -> None:
        self._on_loop(lambda: self._outlet.accepted(prompt_tokens=1, seed=7))

    def say(self, *texts: str, choice: int = 0) -> None:
        """A delta for each text, in one turn of the event loop."""

        def deltas() -> None:
            for text in texts:
                self._outlet.delta(Text(text, [len(text)]), choice)

        self._on_loop(deltas)

    def tell(self, call: Callable[[Outlet], T]) -> T:
        return self._on_loop(lambda: call(self._outlet))

    def finish(self) -> None:
        self._on_loop(
            lambda: self._outlet.done(
                endings=[Ending(0, "stop")], usage=USAGE, timings=TIMINGS, prompt_logprobs=[]
            )
        )

    def _on_loop(self, call: Callable[[], T]) -> T:
        async def run() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)


class Served:
    """`facts`: of the topic "queue". `endpoint`: where the server listens."""

    def __init__(self, socket: Path) -> None:
        self.facts: dict[str, Any] = {"queued": 0}
        self._generations: dict[str, Generation] = {}
        self._began = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.server: Server = self.run(self._serve)
        self.endpoint = self.run(lambda: self.server.listen(socket))

    # -- what the server calls -----------------------------------------------------------------

    def start(self, request: Chat | Complete, principal: str, outlet: Outlet) -> Generation:
        with self._began:
            generation = Generation(outlet, self._loop)
            self._generations[request.id] = generation
            self._began.notify_all()
        return generation

    async def answer(self, request: AnyRequest, principal: str) -> Reply:
        raise Unsupported("There is only the server here.")

    # -- what tests call -----------------------------------------------------------------------

    def generation(self, request_id: str) -> Generation:
        """The generation that a client began, as soon as it has."""
        with self._began:
            began = self._began.wait_for(lambda: request_id in self._generations, 10)
        assert began, f"request {request_id} did not arrive"
        return self._generations.pop(request_id)

    def run(self, call: Callable[[], T]) -> T:
        """On the server's event loop."""

        async def wrapped() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(wrapped(), self._loop).result(10)

    def close(self) -> None:
        self.run(self.server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _serve(self) -> Server:
        return Server(
            "0", "boot", self, self, self._status, {"queue": lambda: dict(self.facts)}, 64
        )

    def _status(self, request_id: str) -> StatusReply:
        raise NotImplementedError


@pytest.fixture
def served(homes: Homes) -> Iterator[Served]:
    served = Served(homes.root / "sock")
    try:
        yield served
    finally:
        served.close()
