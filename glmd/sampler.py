"""The contract of a sampler: what a plugin writes to change how the next token is chosen.

A sampler is one stage of a request's chain. It sees the logits of every token, changes them in
place, and never chooses itself: the last stage of every chain is the daemon's own seeded draw.
docs/plugins.md is the tutorial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from glmd import philox


class SamplerContext(msgspec.Struct, frozen=True):
    """What a sampler may know of its answer.

    `vocab`: length of a logits row. `stop_ids`: ids that end the answer, none where the request
    ignores them. `seed`, `choice`, `stage`: the request's seed, the answer's number, the sampler's
    place in the chain. `prompt_length`: tokens of the history that are prompt. `vocab_bytes`: the
    bytes each id adds to a text, b"" for special ids; it can be shorter than `vocab`, and the same
    object serves every answer of a model.
    """

    vocab: int
    stop_ids: frozenset[int]
    seed: int
    choice: int
    prompt_length: int
    vocab_bytes: Sequence[bytes]
    stage: int = 0

    def uniform(self, index: int, lane: int = 0) -> float:
        """A random number in [0, 1) for the token `index` of the answer, which is
        len(history) - prompt_length. The same for the same arguments whenever it is asked for,
        which is what makes an answer repeatable. `lane`: which of several for that token."""
        return philox.uniform(self.seed, self.choice, index, self.stage, lane)


@runtime_checkable
class SamplerState(Protocol):
    """A sampler at work on one answer.

    Optional methods: `accept(token: int) -> None`, called with each token once it is chosen;
    `save() -> bytes`, called behind that, and `load(data: bytes) -> None`, called instead of the
    accepts when an answer is taken up again after the engine died. A state that follows from the
    history alone needs none of them; one that also depends on logits needs the last two.
    """

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        """Change `logits`, float32 [vocab], in place; -inf forbids a token, and one at least must
        be left. `history`: int32 ids, prompt first, read-only. Both are valid during the call
        alone."""


class NoParams(msgspec.Struct, frozen=True):
    """The parameters of a sampler that has none."""


@runtime_checkable
class Sampler(Protocol):
    """Subclass it for the defaults of everything but `name` and `start`.

    `Params` is validated when a request arrives. `place`, `replaces`: where the sampler stands in
    the default chain or a preset when a request names it without writing out the chain: before or
    behind the built-in stages, of which those that it replaces are left out. `replayable`: whether
    an answer can be taken up again after the engine died; without it such a request ends with an
    error instead.
    """

    name: ClassVar[str]
    Params: ClassVar[type[msgspec.Struct]] = NoParams
    place: ClassVar[Literal["first", "last"]] = "first"
    replaces: ClassVar[frozenset[str]] = frozenset()
    replayable: ClassVar[bool] = True

    def start(self, params: Any, ctx: SamplerContext) -> SamplerState:
        """Begin an answer; `params` is a `Params`. Raising ends that request with the message, here
        as in the state: glmd.errors.InvalidRequest where the request asks for what cannot be,
        which is not counted against the plugin, anything else where the plugin failed."""
