"""Events to the core: gathered during a step, sent together."""

from __future__ import annotations

import os
import socket
import time

from glmd.daemon.engine import transport
from glmd.daemon.engine.messages import Event


class Outbox:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._sent = time.monotonic()

    def put(self, event: Event) -> None:
        self._buffer += transport.encode(event)

    @property
    def silence(self) -> float:
        """Seconds since anything was put or sent."""
        return 0.0 if self._buffer else time.monotonic() - self._sent

    def flush(self) -> None:
        if not self._buffer:
            return
        try:
            self._connection.sendall(self._buffer)
        except ConnectionError:
            os._exit(0)  # the core is gone
        self._buffer.clear()
        self._sent = time.monotonic()
