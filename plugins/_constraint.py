"""What the samplers share that allow an answer only some texts."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from glmd.errors import InvalidRequest
from glmd.sampler import SamplerContext

# ChatGLM3 begins an answer with a newline, and a word with a space; chats drop both. So where an
# answer begins a text, behind a special token, it may open with these.
OPENINGS = (b"", b"\n", b" ", b"\n ")


class Walk(Protocol):
    """How far into the allowed texts an answer has come."""

    def allowed(self) -> NDArray[np.intp]:
        """The ids that may follow, those of `stop_ids` included where a text is whole."""

    def follow(self, token: int) -> None:
        """The token that came next."""


class Begin(Protocol):
    """Begins a walk; `opening`: whether OPENINGS may stand before the text."""

    def __call__(self, opening: bool) -> Walk: ...


class Constraint:
    """A sampler's state that takes out of play what no allowed text goes on with. Where an answer
    has come to follows from the history, so there is nothing to save."""

    def __init__(self, name: str, begin: Begin, ctx: SamplerContext) -> None:
        """Raises InvalidRequest for an answer that cannot end."""
        if not ctx.stop_ids:
            raise InvalidRequest(
                f"{name} needs an answer that ends where its text is whole.",
                hint="Leave ignore_eos out.",
            )
        self.name = name
        self.begin = begin
        self.ctx = ctx
        self.walk: Walk | None = None
        self.seen = ctx.prompt_length

    def apply(self, logits: NDArray[np.float32], history: NDArray[np.int32]) -> None:
        if self.walk is None:
            self.walk = self.begin(self._begins_a_text(history[: self.ctx.prompt_length]))
        for token in history[self.seen :].tolist():
            self.walk.follow(token)
        self.seen = len(history)
        ids = self.walk.allowed()
        kept = logits[ids]
        if not (kept > -np.inf).any():
            raise InvalidRequest(
                f"The stages before {self.name} took out every token that it allows.",
                hint=f"Put {self.name} first.",
            )
        logits.fill(-np.inf)
        logits[ids] = kept

    def _begins_a_text(self, prompt: NDArray[np.int32]) -> bool:
        last = int(prompt[-1]) if len(prompt) else len(self.ctx.vocab_bytes)
        return last >= len(self.ctx.vocab_bytes) or not self.ctx.vocab_bytes[last]
