"""Being told to stop: once to finish what runs, twice to end now."""

from __future__ import annotations

import asyncio
import logging
import signal

log = logging.getLogger(__name__)

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequests:
    """`asked`: finish and end. `insisted`: end at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in ASKING:
            loop.add_signal_handler(number, self._heard, number)

    def ask(self) -> None:
        (self.insisted if self.asked.is_set() else self.asked).set()

    def _heard(self, number: signal.Signals) -> None:
        log.info("%s %s.", number.name, "again: ending now" if self.asked.is_set() else "received")
        self.ask()
