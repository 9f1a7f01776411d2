"""Requests being served, and their choices: the sequences that are decoded."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from glmd.daemon.engine.lookup import Lookup
from glmd.daemon.engine.messages import Logprob, Submit
from glmd.daemon.engine.sampling import Chain
from glmd.daemon.engine.slots import Slot


class Request:
    """`cached`: prompt tokens that were in a KV cache, None until the first choice has a slot.
    `scores`: log-probabilities of the prompt so far, None once they are sent or not wanted."""

    def __init__(self, submit: Submit) -> None:
        self.submit = submit
        self.id = submit.id
        self.prompt = np.array(submit.prompt, np.int32)
        self.stop_ids = frozenset(submit.stop_ids)
        self.sequences: list[Sequence] = []
        self.cached: int | None = None
        self.prefilled = False
        self.scores: list[Logprob] | None = [] if submit.prompt_logprobs else None


class Sequence:
    """One choice of a request.

    `history`: int32 ids, the prompt and the answer; `length` of them are known, of which the first
    `computed` are in the KV cache of `slot`. `chain`: what picks the next one; `lookup`: what
    guesses it. `scored`: this sequence gives the prompt's log-probabilities. `served`: the step in
    which its prompt last got on.
    """

    def __init__(
        self, request: Request, choice: int, forced: list[int], chain: Chain, context: int
    ) -> None:
        self.request = request
        self.choice = choice
        self.chain = chain
        self.lookup = Lookup()
        self.prompt_length = len(request.prompt)
        self.length = self.prompt_length + len(forced)
        # The last token of a full context is never computed, so it needs no position.
        room = min(self.prompt_length + request.submit.max_tokens, context + 1)
        self.history: NDArray[np.int32] = np.empty(max(room, self.length), np.int32)
        self.history[: self.prompt_length] = request.prompt
        self.history[self.prompt_length : self.length] = forced
        self.slot: Slot | None = None
        self.scored = False
        self.served = 0

    @property
    def computed(self) -> int:
        return self.slot.length if self.slot else 0

    @property
    def prompt_left(self) -> int:
        """Prompt tokens not yet in the KV cache."""
        return self.prompt_length - self.computed

    @property
    def prefilling(self) -> bool:
        """More than one prompt token is left; the last one is a row like any other."""
        return self.prompt_left > 1

    @property
    def complete(self) -> bool:
        """No further token may follow."""
        return self.length == len(self.history)

    def append(self, token: int) -> Literal["stop", "length"] | None:
        """Add a sampled token; say whether and how it ends the answer."""
        self.history[self.length] = token
        self.length += 1
        if token in self.request.stop_ids:
            return "stop"
        return "length" if self.complete else None
