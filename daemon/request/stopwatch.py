"""Where the time of a request went."""

from __future__ import annotations

import time

from glmd.wire.replies import Timings


class Stopwatch:
    """Runs from its making to `timings`. Times are those of time.monotonic, in seconds."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._prefilled: float | None = None
        self._first: float | None = None
        self._last = self._begun

    def prefilled(self) -> None:
        self._prefilled = time.monotonic()

    def token(self) -> None:
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last

    def timings(self, started: float, tokens: int) -> Timings:
        """`started`: when a replica took the request, 0.0 if none did; `tokens`: how many came.
        A phase that was never reached lasted until now, or not at all if the one before did."""
        now = time.monotonic()
        begun, first, last = self._begun, self._first, self._last
        started = started or now
        prefilled = now if self._prefilled is None else self._prefilled
        decoding = 0.0 if first is None else last - first
        return Timings(
            queue_ms=1000 * (started - begun),
            prefill_ms=1000 * max(prefilled - started, 0.0),
            first_token_ms=1000 * ((now if first is None else first) - begun),
            total_ms=1000 * (now - begun),
            tokens_per_second=(tokens - 1) / decoding if decoding > 0 else 0.0,
        )
