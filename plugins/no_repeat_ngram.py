"""No sequence of n tokens twice in an answer.

What transformers calls no_repeat_ngram_size, but for the answer alone: the prompt of a conversation
repeats the marks of its turns, and a question must be quotable.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

import glmd
from glmd.sampler import Sampler, SamplerContext


class NoRepeatNgram(glmd.Sampler):
    """No sequence of n tokens comes twice in an answer."""

    name = "no_repeat_ngram"

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`n`: tokens of a sequence."""

        n: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 3

    def start(self, params: Params, ctx: SamplerContext) -> State:
        return State(params.n, ctx.prompt_length)


class State:
    """`after`: the tokens that followed each n - 1 tokens. All of it follows from the history, so
    there is nothing to save."""

    def __init__(self, n: int, prompt_length: int) -> None:
        self.n = n
        self.prompt_length = prompt_length
        self.after: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        self.seen = 0

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        answer = history[self.prompt_length :]
        for end in range(max(self.seen, self.n - 1), len(answer)):
            start = end - self.n + 1
            self.after[tuple(answer[start:end].tolist())].append(int(answer[end]))
        self.seen = len(answer)
        if len(answer) >= self.n - 1:
            last = answer[len(answer) - self.n + 1 :].tolist()
            logits[self.after.get(tuple(last), [])] = -np.inf


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(NoRepeatNgram())
