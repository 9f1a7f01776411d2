"""The words in which schedulers and the loop speak of a step."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from glmd.daemon.engine.sequence import Sequence

# Prompt tokens whose logits are wanted, in one step: each takes a row of float32 [vocab].
MAX_SCORED = 32


NO_GUESS: NDArray[np.int32] = np.empty(0, np.int32)


class Work(NamedTuple):
    """The next `n` known tokens of a sequence. `guess`: int32 ids that may come behind the last
    one that is known."""

    sequence: Sequence
    n: int
    guess: NDArray[np.int32] = NO_GUESS


Call = list[Work]


class Scheduler(Protocol):
    """How a split is chosen never changes what is computed, so it may follow the clock."""

    def plan(self, running: Seq[Sequence]) -> list[Call]:
        """The forward calls of one step. Every sequence that decodes gets a token in it."""

    def reusable(self, running: Seq[Sequence], prompt_length: int, shared: int) -> int:
        """How many of `shared` leading tokens in a KV cache to keep for a prompt, when so much
        else runs. The last token of a prompt is always computed: its logits are what the answer
        starts from."""

    def measured(self, call: Call, seconds: float) -> None:
        """A call took so long. Its sequences still hold what they held before."""
