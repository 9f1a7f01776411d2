"""The pipe to whoever started the daemon and waits for it: see glmd.control.start_daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

import msgspec

from glmd.control import Loading, Settled
from glmd.facts import DaemonFacts


class Starter:
    """`fd`: the pipe's writing end; None when nobody waits (a daemon in the foreground)."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)
            os.set_blocking(fd, False)

    @property
    def waits(self) -> bool:
        """Somebody waits to hear how it went."""
        return self._fd is not None

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Have `on_gone` called should the starter go away before the daemon is settled. The event
        loop sees a pipe without readers as readable."""
        if self._fd is not None:
            asyncio.get_running_loop().add_reader(self._fd, self._gone, on_gone)

    def loading(self, done: int, total: int) -> None:
        self._write(Loading(done, total))

    def settled(self, facts: DaemonFacts) -> None:
        """The last word: the daemon is ready, or it failed."""
        if self._fd is None:
            return
        self._write(Settled(facts))
        with contextlib.suppress(RuntimeError):  # no event loop runs any more, or does yet
            asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)
        self._fd = None

    def _write(self, line: Loading | Settled) -> None:
        if self._fd is not None:
            # A line is shorter than PIPE_BUF, so it is written whole or not at all; a starter that
            # has stopped reading finds the facts in their file.
            with contextlib.suppress(BrokenPipeError, BlockingIOError):
                os.write(self._fd, msgspec.json.encode(line) + b"\n")

    def _gone(self, on_gone: Callable[[], None]) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
        on_gone()
