"""Conversations that have lost their slot, in host memory: a turn that goes on with one is not
computed again from the beginning."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Of the memory that is free when the model is loaded.
SHARE = 0.25


def shared(ours: NDArray[np.int32], prompt: NDArray[np.int32]) -> int:
    """How many leading ids the two have in common."""
    n = min(len(ours), len(prompt))
    differ = ours[:n] != prompt[:n]
    return int(differ.argmax()) if differ.any() else n


@dataclass(eq=False)
class Shelved:
    """`tokens`: int32, what the cache holds; `saved`: uint8, as Backend.save() gave it."""

    tokens: NDArray[np.int32] = field(repr=False)
    saved: NDArray[np.uint8] = field(repr=False)


class Shelf:
    """`room`: bytes. The conversation that has been here the longest makes room for the next."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._shelved: list[Shelved] = []

    def __len__(self) -> int:
        return len(self._shelved)

    @property
    def nbytes(self) -> int:
        return sum(one.saved.nbytes for one in self._shelved)

    def put(self, one: Shelved) -> None:
        """One that is larger than all there is is not kept."""
        if one.saved.nbytes > self.room:
            return
        self._shelved.append(one)
        while self.nbytes > self.room:
            del self._shelved[0]

    def best(self, prompt: NDArray[np.int32]) -> tuple[int, Shelved | None]:
        """The one that begins most like `prompt`, and how many ids they share."""
        found = [(shared(one.tokens, prompt), one) for one in self._shelved]
        return max(found, key=lambda pair: pair[0], default=(0, None))

    def remove(self, one: Shelved) -> None:
        """It may be gone already."""
        if one in self._shelved:
            self._shelved.remove(one)
