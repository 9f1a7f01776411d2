"""How much may run at once: a number of jobs, and no more than memory has room for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryGate:
    """`room`: bytes that all who are inside may take together. One is let in whatever it takes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, nbytes: int) -> Iterator[None]:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + nbytes <= self._room)
            self._taken += nbytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= nbytes
                self._changed.notify_all()
