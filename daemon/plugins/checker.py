"""The plugin host that looks plugins over: one at a time, each with a time-out."""

from __future__ import annotations

import asyncio

import msgspec

from glmd.daemon.engine import transport
from glmd.daemon.plugins.messages import AnyHostEvent, Check, Checked
from glmd.daemon.pool.child import Child
from glmd.discovery import Source
from glmd.loading import CHECK_SECONDS

IDLE_SECONDS = 10.0  # after which a host that looks nothing over ends

MODULE = "glmd.daemon.plugins"


class Checker:
    """Starts a child when there is something to look over. One that a plugin has taken down or
    holds up is ended, and the next plugin gets another. Used from one task at a time."""

    def __init__(self) -> None:
        self._child: Child[AnyHostEvent] | None = None
        self._answer: asyncio.Future[Checked] | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._idle: asyncio.TimerHandle | None = None

    async def check(self, source: Source) -> Checked:
        """What the plugin is, or why it cannot be used."""
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        try:
            if self._child is None:
                decoder = transport.Decoder(msgspec.msgpack.Decoder(AnyHostEvent))
                self._child = Child("plugin check", MODULE, decoder, self)
                self._ended.clear()
            self._child.send(Check(source))
            return await asyncio.wait_for(self._answer, CHECK_SECONDS)
        except asyncio.TimeoutError:
            await self.stop()
            return Checked(
                error=f"Importing and trying it had not come to an end after {CHECK_SECONDS:.0f} s."
            )
        except OSError as error:
            return Checked(error=f"The plugin host cannot be started: {error.strerror}.")
        finally:
            self._answer = None
            self._idle = loop.call_later(IDLE_SECONDS, self._end)

    async def stop(self) -> None:
        """End the child; it is gone when this returns."""
        self._end()
        await self._ended.wait()

    def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._child is not None:
            self._child.kill()

    # -- from the child ------------------------------------------------------------------------

    def happened(self, event: AnyHostEvent) -> None:
        if isinstance(event, Checked) and self._answer is not None and not self._answer.done():
            self._answer.set_result(event)

    def gone(self, how: str) -> None:
        self._child = None
        self._ended.set()
        self.happened(Checked(error=f"The plugin took its process down, which {how}."))
