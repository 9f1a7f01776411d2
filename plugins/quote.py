"""Quote faithfully: what continues a passage of the prompt becomes likelier.

When the last tokens also stand in the prompt, the tokens that follow them there get a bonus, so
that a name, a number or a sentence that was begun is copied to its end. It reads the whole prompt,
however long, once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

import glmd
from glmd.sampler import Sampler, SamplerContext


class Quote(glmd.Sampler):
    """Makes likelier what continues a passage of the prompt."""

    name = "quote"

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`strength`: added to the logit. `length`: tokens that have to agree."""

        strength: Annotated[float, msgspec.Meta(ge=0, le=100)] = 2.0
        length: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2

    def start(self, params: Params, ctx: SamplerContext) -> State:
        return State(params, ctx.prompt_length, ctx.vocab_bytes)


class State:
    def __init__(
        self, params: Quote.Params, prompt_length: int, vocab_bytes: Sequence[bytes]
    ) -> None:
        self.params = params
        self.prompt_length = prompt_length
        self.vocab_bytes = vocab_bytes
        self.after: dict[tuple[int, ...], set[int]] | None = None

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        if self.after is None:
            self.after = self.passages(history[: self.prompt_length].tolist())
        last = tuple(history[-self.params.length :].tolist())
        logits[list(self.after.get(last, ()))] += self.params.strength

    def passages(self, prompt: list[int]) -> dict[tuple[int, ...], set[int]]:
        """The tokens that follow each run of `length` in the prompt. Turns are not run across: the
        marks between them, which have no bytes, belong to no passage."""
        length = self.params.length
        after: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        begun = 0
        for end, token in enumerate(prompt):
            if token >= len(self.vocab_bytes) or not self.vocab_bytes[token]:
                begun = end + 1
            elif end - begun >= length:
                after[tuple(prompt[end - length : end])].add(token)
        return dict(after)


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(Quote())
