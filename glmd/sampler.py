"""The contract of a sampler: what a plugin writes to change how the next token is chosen.

A sampler is one stage of a request's chain. It sees the logits of every token, changes them in
place, and never chooses itself: the last stage of every chain is the daemon's own seeded draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray


class SamplerContext(msgspec.Struct, frozen=True):
    """What a sampler may know of its request.

    `vocab`: length of a logits row. `stop_ids`: ids that end the answer. `seed`, `choice`: random
    numbers must depend on nothing but these and the token's index, or an answer cannot be replayed.
    `prompt_length`: tokens of the history that are prompt. `vocab_bytes`: the bytes each id stands
    for, b"" for special ids.
    """

    vocab: int
    stop_ids: frozenset[int]
    seed: int
    choice: int
    prompt_length: int
    vocab_bytes: Sequence[bytes]


@runtime_checkable
class SamplerState(Protocol):
    """A sampler at work on one answer. Optional methods: `accept(token: int) -> None`, called with
    each token that was chosen; `save() -> bytes` and `load(data: bytes) -> None`, needed for replay
    when the state depends on logits."""

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        """Change `logits`, float32 [vocab], in place; -inf forbids a token. `history`: int32 ids,
        prompt first, read-only. Both are valid during the call alone."""


@runtime_checkable
class Sampler(Protocol):
    """`Params` is validated when a request arrives. `replayable`: whether an answer can be taken up
    again after the engine died; without it such a request ends with an error instead."""

    name: ClassVar[str]
    Params: ClassVar[type[msgspec.Struct]]
    replayable: ClassVar[bool] = True

    def start(self, params: msgspec.Struct, ctx: SamplerContext) -> SamplerState:
        """Begin an answer. Raising ends that request with the message."""
