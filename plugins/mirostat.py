"""Mirostat 2.0: an answer that surprises by as much as it is told to, token after token.

(Basu, Ramachandran, Keskar, Varshney: "Mirostat: a neural text decoding algorithm that directly
controls perplexity", ICLR 2021, algorithm 2, as llama.cpp has it.) Tokens whose surprise is above a
bound μ are taken out; how far the token drawn was from the wanted surprise then moves the bound.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

import glmd
from glmd.sampler import Sampler, SamplerContext

CUTS = frozenset({"top_n_sigma", "top_k", "typical", "top_p", "min_p", "xtc"})


class Mirostat(glmd.Sampler):
    """Keeps the surprise of an answer at so many bits a token."""

    name = "mirostat"
    place = "last"  # the surprise is that of the distribution that is drawn from
    replaces = CUTS

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`tau`: surprise to keep to, in bits. `eta`: how quickly the bound follows."""

        tau: Annotated[float, msgspec.Meta(gt=0, le=100)] = 5.0
        eta: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1

    def start(self, params: Params, ctx: SamplerContext) -> State:
        return State(params)


class State:
    """The bound `mu`, in bits, depends on logits, so it is saved."""

    def __init__(self, params: Mirostat.Params) -> None:
        self.tau, self.eta = params.tau, params.eta
        self.mu = 2 * params.tau
        self.row = np.zeros(0, np.float32)
        self.total = 0.0

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        # Surprise is (total - logit) / ln 2, so a bound on it is one on the logit.
        least = min(log_sum_exp(logits) - self.mu * math.log(2), float(logits.max()))
        logits[logits < least] = -np.inf
        self.row, self.total = logits.copy(), log_sum_exp(logits)

    def accept(self, token: int) -> None:
        if self.row.size:
            surprise = (self.total - float(self.row[token])) / math.log(2)
            self.mu -= self.eta * (surprise - self.tau)

    def save(self) -> bytes:
        return struct.pack("<d", self.mu)

    def load(self, data: bytes) -> None:
        (self.mu,) = struct.unpack("<d", data)


def log_sum_exp(logits: NDArray[np.float32]) -> float:
    top = float(logits.max())
    return top + math.log(float(np.exp(logits - top).sum(dtype=np.float64)))


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(Mirostat())
