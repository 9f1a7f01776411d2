"""What systemd hears of the daemon: sd_notify(3), without its library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket


class Systemd:
    """Does nothing where systemd did not start the daemon."""

    def __init__(self) -> None:
        # Out of the environment, so that no child takes itself for the service.
        address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        watched = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = int(microseconds) / 1e6 if microseconds.isdigit() and watched else 0.0
        self._timer: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        self._send(f"READY=1\nMAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watch(self) -> None:
        """Show, twice in each watchdog period, that the event loop turns."""
        if self._watchdog:
            self._send("WATCHDOG=1")
            self._timer = asyncio.get_running_loop().call_later(self._watchdog / 2, self.watch)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # The service goes on when systemd does not listen.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.sendto(message.encode(), self._address)
