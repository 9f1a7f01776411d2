"""A conversation through the nets of the seed recipe, each run by whatever the test gives: torch
modules, or the simulator. This is what the vendor's demo programs do on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Run = Callable[[str, Sequence[Array]], Sequence[Array]]

MASKED = -10000.0


@dataclass
class SeedRun:
    """`run(net, inputs)` gives the outputs of one launch."""

    run: Run
    layers: int
    seq_length: int
    length: int = 0
    caches: list[tuple[Array, Array]] = field(default_factory=list)

    def prefill(self, ids: Sequence[int]) -> Array:
        """Logits [1, V] behind the last of `ids`."""
        length, total = len(ids), self.seq_length
        padded = np.zeros((1, total), np.int32)
        padded[0, :length] = ids
        positions = np.zeros((1, total), np.int32)
        positions[0, :length] = np.arange(length)
        mask = np.full((1, 1, total, total), MASKED, np.float16)
        mask[0, 0, :length, :length] = np.where(np.tri(length), 0, MASKED)
        (hidden,) = self.run("embedding", [padded])
        self.caches = []
        for layer in range(self.layers):
            hidden, *cache = self.run(f"block_{layer}", [hidden, positions, mask])
            key, value = (np.roll(rows, total - length, axis=0) for rows in cache)
            self.caches.append((key, value))
        self.length = length
        return self._logits(hidden[length - 1])

    def decode(self, token: int) -> Array:
        """Logits [1, V] behind one more token."""
        total = self.seq_length
        (hidden,) = self.run("embedding_cache", [np.full((1, 1), token, np.int32)])
        position = np.full((1, 1), self.length, np.int32)
        mask = np.zeros((1, 1, 1, total + 1), np.float16)
        mask[..., : total - self.length] = MASKED
        for layer in range(self.layers):
            inputs = [hidden, position, mask, *self.caches[layer]]
            hidden, key, value = self.run(f"block_cache_{layer}", inputs)
            self.caches[layer] = key, value
        self.length += 1
        return self._logits(hidden[0])

    def _logits(self, hidden: Array) -> Array:
        (logits,) = self.run("lm_head", [hidden])
        return logits
