"""Which plugin's code an engine child is in: a page of memory that it shares with the core.

The child writes it down before it enters the code, so that the core knows whose fault it was when
the child dies there, or does not come out again.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from typing import NamedTuple

_ENTRY = struct.Struct("=dQ")  # when, monotonic seconds; the plugin's number, 0 outside
_NUMBER = struct.Struct("=Q")


class Inside(NamedTuple):
    """`number` of the plugin, and the `seconds` since its code was entered."""

    number: int
    seconds: float


class Breadcrumb:
    """Either side's view of the page. `fd` is what the other side maps."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, mmap.PAGESIZE)

    @classmethod
    def create(cls) -> Breadcrumb:
        """A page of zeros. Raises OSError."""
        fd = os.memfd_create("glmd-breadcrumb", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, mmap.PAGESIZE)
            return cls(fd)
        except OSError:
            os.close(fd)
            raise

    def enter(self, number: int) -> None:
        _ENTRY.pack_into(self._page, 0, time.monotonic(), number)

    def leave(self) -> None:
        _NUMBER.pack_into(self._page, _ENTRY.size - _NUMBER.size, 0)

    def inside(self) -> Inside | None:
        """Where the child is, or was when it died; None outside of all plugins."""
        since, number = _ENTRY.unpack_from(self._page)
        return Inside(number, time.monotonic() - since) if number else None

    def close(self) -> None:
        self._page.close()
        os.close(self.fd)
