"""How long a client waits, phase by phase."""

from __future__ import annotations

import time

import msgspec

from glmd.control import command
from glmd.errors import DaemonTimeout


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds; None waits for ever.

    `connect`: until the daemon's welcome. `accept`: from a request until its first reply.
    `silence`: between two messages of an answer; the daemon reports progress every second before
    the first token, so silence means that something is broken. `total`: a whole request.
    """

    connect: float | None = 5.0
    accept: float | None = 30.0
    silence: float | None = 60.0
    total: float | None = None


class Patience:
    """The time-outs applied to one request to daemon `name`, whose clock starts now."""

    def __init__(self, timeouts: Timeouts, total: float | None, name: str) -> None:
        self._name = name
        self._timeouts = timeouts
        self._total = timeouts.total if total is None else total
        self._end = None if self._total is None else time.monotonic() + self._total

    def wait(self, heard: bool) -> float | None:
        """Seconds until the next message must be here; `heard`: there was one before."""
        limits = [self._phase(heard)]
        if self._end is not None:
            limits.append(max(0.0, self._end - time.monotonic()))
        return min((limit for limit in limits if limit is not None), default=None)

    def error(self, heard: bool) -> DaemonTimeout:
        """What to raise when that time has passed."""
        if self._end is not None and time.monotonic() >= self._end:
            return DaemonTimeout(
                f"The request did not end within {self._total:g} s.",
                hint="Give it a longer timeout, or fewer tokens (max_tokens).",
            )
        what = "sent nothing more" if heard else "did not reply"
        return DaemonTimeout(
            f"The daemon {what} for {self._phase(heard):g} s.",
            hint=f"`{command('status', self._name)}` and `{command('logs', self._name)}` say what "
            "it is doing.",
        )

    def _phase(self, heard: bool) -> float | None:
        if heard:
            return self._timeouts.silence
        if self._timeouts.connect is None or self._timeouts.accept is None:
            return None
        return self._timeouts.connect + self._timeouts.accept
