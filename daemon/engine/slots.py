"""Which tokens each slot's KV cache holds, and which slot serves a prompt best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from glmd.daemon.engine.shelf import Shelf, Shelved, shared

_EMPTY = np.empty(0, np.int32)


@dataclass(eq=False)
class Slot:
    """One conversation's KV cache. `tokens`: int32, what its first `length` positions hold."""

    index: int
    tokens: NDArray[np.int32] = field(default_factory=lambda: _EMPTY, repr=False)
    length: int = 0
    busy: bool = False
    used: int = 0

    @property
    def held(self) -> NDArray[np.int32]:
        return self.tokens[: self.length]

    def shared(self, prompt: NDArray[np.int32]) -> int:
        """How many leading tokens the slot and `prompt` have in common."""
        return shared(self.held, prompt)

    def clear(self) -> None:
        self.tokens, self.length = _EMPTY, 0


@dataclass(frozen=True)
class Place:
    """Where a prompt goes: `cached` positions of `slot` are right once they are copied from
    `source` (nothing to copy where that is the slot itself). `shelves`: what the slot holds is
    nowhere else, and goes to the shelf first."""

    slot: Slot
    source: Slot | Shelved
    cached: int
    shelves: bool = False


class Slots:
    """The slots of a backend, and the shelf for those who lose theirs. Nothing here touches the
    backend: whoever takes a place makes it so."""

    def __init__(self, n: int, shelf: Shelf | None = None) -> None:
        self._slots = [Slot(i) for i in range(n)]
        self.shelf = Shelf(0) if shelf is None else shelf
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
        slot that has been idle the longest, so that the other conversation keeps its cache. What
        that slot holds goes to the shelf.
        """
        idle = [slot for slot in self._slots if not slot.busy]
        if not idle:
            return None
        oldest = min(idle, key=lambda slot: (slot.length > 0, slot.used))
        common, source = max(
            ((slot.shared(prompt), slot) for slot in self._slots),
            key=lambda pair: (pair[0], not pair[1].busy, pair[1].used),
        )
        on_shelf, shelved = self.shelf.best(prompt)
        if shelved is not None and on_shelf > common and (cached := reusable(on_shelf)):
            return self._occupy(oldest, shelved, cached)
        cached = reusable(common)
        if cached == 0:
            return self._occupy(oldest, oldest, 0)
        in_place = not source.busy and 2 * common >= source.length
        return self._occupy(source if in_place else oldest, source, cached)

    def _occupy(self, slot: Slot, source: Slot | Shelved, cached: int) -> Place:
        kept = source is slot and 2 * cached >= slot.length
        shelves = self.shelf.room > 0 and slot.length > 0 and not kept and self._alone(slot)
        slot.busy = True
        return Place(slot, source, cached, shelves)

    def _alone(self, slot: Slot) -> bool:
        """Whether nobody else holds all that this one does."""
        others = [other.shared(slot.held) for other in self._slots if other is not slot]
        return max(*others, self.shelf.best(slot.held)[0], 0) < slot.length

    def give_back(self, slot: Slot) -> None:
        """The slot is idle; what it holds may serve a later prompt."""
        self._clock += 1
        slot.used = self._clock
        slot.busy = False
