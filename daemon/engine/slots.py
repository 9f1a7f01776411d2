"""Which tokens each slot's KV cache holds, and which slot serves a prompt best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_EMPTY = np.empty(0, np.int32)


@dataclass(eq=False)
class Slot:
    """One conversation's KV cache. `tokens`: int32, what its first `length` positions hold."""

    index: int
    tokens: NDArray[np.int32] = field(default_factory=lambda: _EMPTY, repr=False)
    length: int = 0
    busy: bool = False
    used: int = 0

    def shared(self, prompt: NDArray[np.int32]) -> int:
        """How many leading tokens the slot and `prompt` have in common."""
        n = min(self.length, len(prompt))
        differ = self.tokens[:n] != prompt[:n]
        return int(differ.argmax()) if differ.any() else n

    def clear(self) -> None:
        self.tokens, self.length = _EMPTY, 0


@dataclass(frozen=True)
class Place:
    """Where a prompt goes: `cached` positions of `slot` are right once they are copied from
    `source` (nothing to copy where that is the slot itself)."""

    slot: Slot
    source: Slot
    cached: int


class Slots:
    """The slots of a backend. Nothing here touches it: whoever takes a place makes it so."""

    def __init__(self, n: int) -> None:
        self._slots = [Slot(i) for i in range(n)]
        self._clock = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def busy(self) -> int:
        return sum(slot.busy for slot in self._slots)

    def take(self, prompt: NDArray[np.int32], reusable: Callable[[int], int]) -> Place | None:
        """A slot for `prompt` (int32 ids), or None when all are busy.

        `reusable` says how much of a shared prefix is worth keeping. The longest one wins. It is
        used in place if its slot is idle and holds little else; otherwise it is copied into the
        slot that has been idle the longest, so that the other conversation keeps its cache.
        """
        idle = [slot for slot in self._slots if not slot.busy]
        if not idle:
            return None
        oldest = min(idle, key=lambda slot: (slot.length > 0, slot.used))
        shared, source = max(
            ((slot.shared(prompt), slot) for slot in self._slots),
            key=lambda pair: (pair[0], not pair[1].busy, pair[1].used),
        )
        cached = reusable(shared)
        if cached == 0:
            return self._occupy(oldest, oldest, 0)
        in_place = not source.busy and 2 * shared >= source.length
        return self._occupy(source if in_place else oldest, source, cached)

    def _occupy(self, slot: Slot, source: Slot, cached: int) -> Place:
        slot.busy = True
        return Place(slot, source, cached)

    def give_back(self, slot: Slot) -> None:
        """The slot is idle; what it holds may serve a later prompt."""
        self._clock += 1
        slot.used = self._clock
        slot.busy = False
