"""How many prompt tokens fit in a step, from how long earlier ones took."""

from __future__ import annotations

# What prompts may add to a step in which others are decoding: so much that it takes this long, or
# twice as long as without them (a machine on which a bare step takes longer needs larger chunks,
# not smaller ones, to get anywhere).
SHARED_SECONDS = 0.2

# A step in which nobody decodes. It bounds how long a newcomer waits for its first chunk.
ALONE_SECONDS = 0.5

FIRST_CHUNK = 32
MIN_SHARED_CHUNK = 8
MIN_ALONE_CHUNK = 64
MAX_CHUNK = 512


class Pace:
    """Two running means: seconds of a step that only decodes, and seconds each prompt token adds.
    The split of a prompt never changes what is computed, so it may follow the clock."""

    def __init__(self) -> None:
        self._step: float | None = None
        self._token: float | None = None

    def measured(self, prompt_tokens: int, seconds: float) -> None:
        """A step with so many prompt tokens (0: it only decoded) took so long."""
        if prompt_tokens == 0:
            self._step = _mean(self._step, seconds)
        else:
            added = max(seconds - (self._step or 0.0), 0.0)
            self._token = _mean(self._token, added / prompt_tokens)

    def chunk(self, *, shared: bool) -> int:
        """Prompt tokens for the next step; `shared`: others decode in it."""
        if self._token is None:
            return FIRST_CHUNK
        step = self._step or 0.0
        budget = max(SHARED_SECONDS - step, step) if shared else ALONE_SECONDS
        least = MIN_SHARED_CHUNK if shared else MIN_ALONE_CHUNK
        return max(least, int(min(budget / max(self._token, 1e-9), MAX_CHUNK)))


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else 0.7 * mean + 0.3 * value
