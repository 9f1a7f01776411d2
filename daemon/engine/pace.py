"""How many prompt tokens fit in a step, from how long earlier ones took."""

from __future__ import annotations

# Seconds a step with prompt tokens may take while other sequences are decoded in it, and while
# none is. The second bounds how long a newcomer waits for its first chunk.
SHARED_SECONDS = 0.2
ALONE_SECONDS = 0.5

MIN_CHUNK = 16
MAX_CHUNK = 512
FIRST_CHUNK = 32


class Pace:
    """The split of a prompt never changes what is computed, so it may follow the clock."""

    def __init__(self) -> None:
        self._rate = 0.0  # tokens a second, 0: not measured yet

    def measured(self, tokens: int, seconds: float) -> None:
        rate = tokens / max(seconds, 1e-6)
        self._rate = rate if self._rate == 0 else 0.5 * (self._rate + rate)

    def chunk(self, *, shared: bool) -> int:
        if self._rate == 0:
            return FIRST_CHUNK
        seconds = SHARED_SECONDS if shared else ALONE_SECONDS
        return min(max(int(self._rate * seconds), MIN_CHUNK), MAX_CHUNK)
