"""Where requests get their model: at once, or when it has been loaded or exchanged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from glmd.daemon.models.deployment import Deployment
from glmd.daemon.pool.queue import FairQueue
from glmd.errors import Busy, Code, DaemonError
from glmd.wire.replies import Phase

# Seconds between two words of progress, which a client is promised at least once a second.
TICK = 0.5

RETRY_MS = 5000  # when to come back where too many wait for a model to be loaded

Tell = Callable[[Phase, int, int], None]


class _Waiting:
    def __init__(self, principal: str) -> None:
        self.principal = principal
        self.called = asyncio.Event()


class Entrance:
    """A request that comes in holds on to the deployment that is `present` then. Nothing is
    prepared for a model before it is known that this one will answer.

    `bound`: how many may wait here, as in FairQueue. `on_change` is called when their number has
    changed.
    """

    def __init__(
        self, present: Deployment, bound: int, on_change: Callable[[str], None] = lambda topic: None
    ) -> None:
        self.present = present
        self._waiting: FairQueue[_Waiting] = FairQueue(bound)
        self._on_change = on_change
        self._phase: Phase = "loading"
        self._coming = present
        self._closed = False
        self._stopping = False

    @asynccontextmanager
    async def enter(
        self, principal: str, tell: Tell, cancelled: asyncio.Event
    ) -> AsyncIterator[Deployment | None]:
        """The deployment that answers a request, held until the request is over; None where
        `cancelled` was set before there was one. `tell` hears of progress meanwhile.

        Raises Busy where too many wait, DaemonError when the daemon stops, and why no model can be
        loaded.
        """
        while not self._open():
            await self._wait(principal, tell, cancelled)
            if cancelled.is_set():
                yield None
                return
        deployment = self.present
        with deployment.held():
            yield None if cancelled.is_set() else deployment

    def close(self) -> None:
        """Have those who come wait: the model is being exchanged."""
        self._phase = "reloading"
        self._closed = True

    def expect(self, coming: Deployment) -> None:
        """Show those who wait how far the load of this one is."""
        self._coming = coming

    def open(self, present: Deployment) -> None:
        """From now on requests get this one."""
        self.present = self._coming = present
        self._closed = False
        self.look()

    def stop(self) -> None:
        """Nobody comes in any more."""
        self._stopping = True
        self.look()

    def look(self) -> None:
        """The model may be there now, or be known not to come: those who wait find out."""
        if self._waiting and (self._stopping or not self._closed):
            for waiting in self._waiting.clear():
                waiting.called.set()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _open(self) -> bool:
        """Raises why it never will be."""
        if self._stopping:
            raise DaemonError("The daemon is stopping.", code=Code.STOPPING)
        if self._closed:
            return False
        if self.present.pool.model is None and (failure := self.present.pool.failure()):
            raise failure
        return self.present.pool.model is not None

    async def _wait(self, principal: str, tell: Tell, cancelled: asyncio.Event) -> None:
        """Until called, or cancelled; whether the door is open then is another question."""
        if not self._waiting.has_room(principal):
            raise Busy(
                f"{len(self._waiting)} requests wait for the model already.",
                hint="Try again when it is loaded: `glmd status` shows how far it is.",
                retry_after_ms=RETRY_MS,
            )
        waiting = _Waiting(principal)
        self._waiting.push(waiting)
        self._on_change("queue")
        until = [asyncio.ensure_future(event.wait()) for event in (waiting.called, cancelled)]
        try:
            while not any(event.done() for event in until):
                tell(self._phase, *self._coming.pool.loading)
                await asyncio.wait(until, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for event in until:
                event.cancel()
            self._waiting.remove(waiting)
            self._on_change("queue")
