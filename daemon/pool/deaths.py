"""When to give a replica up."""

from __future__ import annotations

MAX_DEATHS = 3
WINDOW = 60.0


class Deaths:
    """Three deaths within 60 s of service are too many. The clock stands still while a model is
    loaded, or a slow load would hide a crash loop."""

    def __init__(self) -> None:
        self._stamps: list[float] = []
        self._service = 0.0
        self._ready_at: float | None = None

    def ready(self, now: float) -> None:
        self._ready_at = now

    def died(self, now: float) -> bool:
        """Count a death at `now` (seconds, monotonic); True when it is one too many."""
        if self._ready_at is not None:
            self._service += now - self._ready_at
            self._ready_at = None
        self._stamps = [t for t in self._stamps if self._service - t < WINDOW] + [self._service]
        return len(self._stamps) >= MAX_DEATHS
