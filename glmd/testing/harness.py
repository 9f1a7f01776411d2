"""Drive a sampler as the daemon does: fixed logits in, tokens out, the daemon's own draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from glmd.philox import DRAW_STAGE, uniform
from glmd.sampler import Sampler, SamplerContext, SamplerState
from glmd.testing.statistics import p_value

Logits = NDArray[np.float32] | Callable[[NDArray[np.int32]], NDArray[np.float32]]
"""float32 [vocab] for every token, or what makes such a row of the history."""

# With seeds fixed a test is deterministic: a p-value this low is a fault, not bad luck.
IMPLAUSIBLE = 1e-4


class Answer(NamedTuple):
    """`tokens` in order, with the row each was drawn from, float32 [vocab], behind the sampler, and
    what the state saved behind each (None where it cannot)."""

    tokens: list[int]
    rows: list[NDArray[np.float32]]
    saved: list[bytes | None]


class SamplerHarness:
    """A sampler, alone in its chain, on a made-up vocabulary.

    vocab_bytes: the bytes each id stands for, b"" for special ones.
    stop_ids: ids that end an answer.
    vocab: length of a logits row, if longer.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        vocab_bytes: Sequence[bytes],
        stop_ids: Sequence[int] = (),
        vocab: int = 0,
    ) -> None:
        self.sampler = sampler
        self.vocab_bytes = tuple(vocab_bytes)
        self.stop_ids = frozenset(stop_ids)
        self.vocab = max(vocab, len(self.vocab_bytes))

    def start(
        self,
        params: Mapping[str, Any] = {},
        *,
        prompt: Sequence[int] = (0,),
        seed: int = 0,
        choice: int = 0,
    ) -> SamplerState:
        """A state for one answer. Raises msgspec.ValidationError for parameters that the sampler's
        Params does not take, and what its start raises."""
        context = SamplerContext(
            self.vocab, self.stop_ids, seed, choice, len(prompt), self.vocab_bytes
        )
        return self.sampler.start(msgspec.convert(dict(params), self.sampler.Params), context)

    def answer(
        self,
        params: Mapping[str, Any] = {},
        *,
        logits: Logits,
        prompt: Sequence[int] = (0,),
        length: int = 16,
        seed: int = 0,
        choice: int = 0,
        forced: Sequence[int] = (),
        saved: bytes | None = None,
    ) -> Answer:
        """What is drawn, up to `length` tokens or a stop id. `forced`, `saved`: take up an answer
        behind these tokens, with what its state had saved, as after the engine died."""
        state = self.start(params, prompt=prompt, seed=seed, choice=choice)
        accept, save = getattr(state, "accept", None), getattr(state, "save", None)
        if saved is not None:
            getattr(state, "load")(saved)  # noqa: B009  (optional in the contract)
        elif accept is not None:
            for token in forced:
                accept(token)
        answer = Answer(list(forced), [], [])
        while len(answer.tokens) < length:
            history = np.array([*prompt, *answer.tokens], np.int32)
            row = self.apply(state, logits, history)
            token = draw(row, uniform(seed, choice, len(answer.tokens), DRAW_STAGE))
            if accept is not None:
                accept(token)
            answer.tokens.append(token)
            answer.rows.append(row)
            answer.saved.append(None if save is None else save())
            if token in self.stop_ids:
                break
        return answer

    def apply(
        self, state: SamplerState, logits: Logits, history: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The row that `state` makes of the logits. Raises ValueError where the daemon would fail
        the request."""
        row = np.array(logits(history) if callable(logits) else logits, np.float32)
        if row.shape != (self.vocab,):
            raise ValueError(f"logits are {row.shape}, the vocabulary is {self.vocab}")
        view = history.view()
        view.flags.writeable = False
        state.apply(row, view)
        if not np.isfinite(row.max()):
            raise ValueError("a logit is NaN or +inf, or none is left above -inf")
        return row

    def allowed(
        self,
        params: Mapping[str, Any] = {},
        *,
        prompt: Sequence[int] = (0,),
        answer: Sequence[int] = (),
    ) -> set[int]:
        """The ids that may follow `answer` when all logits are equal."""
        flat = np.zeros(self.vocab, np.float32)
        state = self.start(params, prompt=prompt)
        accept = getattr(state, "accept", None)
        for n in range(len(answer)):
            self.apply(state, flat, np.array([*prompt, *answer[:n]], np.int32))
            if accept is not None:
                accept(answer[n])
        row = self.apply(state, flat, np.array([*prompt, *answer], np.int32))
        return set(np.nonzero(np.isfinite(row))[0].tolist())

    def check_distribution(
        self,
        params: Mapping[str, Any] = {},
        *,
        logits: Logits,
        probs: NDArray[np.float64],
        prompt: Sequence[int] = (0,),
        forced: Sequence[int] = (),
        draws: int = 20_000,
    ) -> None:
        """Draw the token behind `forced` under as many seeds: χ² against `probs`, float64
        [vocab]. Raises AssertionError."""
        counts = np.zeros(self.vocab, np.int64)
        for seed in range(draws):
            given = self.answer(
                params,
                logits=logits,
                prompt=prompt,
                length=len(forced) + 1,
                seed=seed,
                forced=forced,
            )
            counts[given.tokens[-1]] += 1
        p = p_value(counts, probs)
        if p < IMPLAUSIBLE:
            raise AssertionError(
                f"{self.sampler.name}: {draws} draws do not follow the distribution (p = {p:.2g})"
            )

    def check_repeatable(
        self,
        params: Mapping[str, Any] = {},
        *,
        logits: Logits,
        prompt: Sequence[int] = (0,),
        length: int = 16,
        seed: int = 0,
    ) -> Answer:
        """The same seed gives the same answer, with other answers begun in between, and taken up
        behind every token. Returns it. Raises AssertionError."""
        common: dict[str, Any] = {"logits": logits, "prompt": prompt, "length": length}
        whole = self.answer(params, seed=seed, **common)
        self.answer(params, seed=seed + 1, **common)
        name = self.sampler.name
        if self.answer(params, seed=seed, **common).tokens != whole.tokens:
            raise AssertionError(f"{name}: the same seed gave another answer")
        if not getattr(self.sampler, "replayable", True):
            return whole
        for n in range(1, len(whole.tokens)):
            rest = self.answer(
                params, seed=seed, forced=whole.tokens[:n], saved=whole.saved[n - 1], **common
            )
            same = all(map(np.array_equal, rest.rows, whole.rows[n:]))
            if rest.tokens != whole.tokens or not same:
                raise AssertionError(f"{name}: taken up behind token {n} the answer is another")
        return whole


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities, float64 [vocab], of logits with one finite at least."""
    e = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return np.asarray(e / e.sum(), np.float64)


def draw(logits: NDArray[np.float32], number: float) -> int:
    """The token at `number`, in [0, 1), of the cumulative distribution in the order of ids."""
    total = np.cumsum(softmax(logits))
    place = int(np.searchsorted(total, number * total[-1], side="right"))
    return place if place < len(total) else int(np.flatnonzero(np.isfinite(logits))[-1])
