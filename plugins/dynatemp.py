"""Dynamic temperature: the surer the model, the cooler.

llama.cpp's dynatemp: the temperature lies between temperature - range and temperature + range, at
(entropy / greatest possible entropy) ** exponent of the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

import glmd
from glmd.sampler import Sampler, SamplerContext

Positive = Annotated[float, msgspec.Meta(ge=0, le=100)]


class DynamicTemperature(glmd.Sampler):
    """A temperature that rises with the entropy."""

    name = "dynatemp"
    place = "last"
    replaces = frozenset({"temperature"})

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`temperature`, give or take `range`; `exponent`: above 1 stays cool longer."""

        temperature: Positive = 0.8
        range: Positive = 0.5
        exponent: Positive = 1.0

    def start(self, params: Params, ctx: SamplerContext) -> State:
        return State(params)


class State:
    def __init__(self, params: DynamicTemperature.Params) -> None:
        self.low = max(params.temperature - params.range, 0.0)
        self.high = params.temperature + params.range
        self.exponent = params.exponent

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        top = logits.max()
        left = logits[logits > -np.inf]
        if left.size < 2:
            return
        weights = np.exp(left - top, dtype=np.float64)
        probs = weights / weights.sum()
        entropy = -float((probs * np.log(np.maximum(probs, 1e-300))).sum())
        share = min(entropy / math.log(left.size), 1.0)
        temperature = self.low + (self.high - self.low) * share**self.exponent
        if temperature < 1e-6:  # a quotient could overflow; the greatest logit is all that is left
            logits[logits < top] = -np.inf
        else:
            logits -= top
            logits /= temperature


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(DynamicTemperature())
