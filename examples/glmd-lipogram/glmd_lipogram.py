"""Writes without some letters, as Perec wrote a novel without e."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

import glmd
from glmd.sampler import Sampler, SamplerContext


class Lipogram(glmd.Sampler):
    """Writes without some letters."""

    name = "lipogram"

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`letters`: those to do without, small and capital. ASCII alone: their bytes are in no
        other character."""

        letters: Annotated[str, msgspec.Meta(pattern="^[A-Za-z]+$")]

    def start(self, params: Params, ctx: SamplerContext) -> State:
        missing = {*params.letters.lower().encode(), *params.letters.upper().encode()}
        return State([i for i, text in enumerate(ctx.vocab_bytes) if missing.intersection(text)])


class State:
    """What is out of play is the same for every token, so nothing has to be kept or saved."""

    def __init__(self, out: list[int]) -> None:
        self.out = np.array(out, np.intp)

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        logits[self.out] = -np.inf


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(Lipogram())
