"""The CPU backend with the abilities of a bmodel, on a clock that stands still but for its nets."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.abilities import Can

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.loop import Loop
from glmd.daemon.engine.messages import (
    Event,
    Failed,
    Logprob,
    Prefilled,
    PromptLogprobs,
    Step,
    Stop,
    Submit,
)
from glmd.daemon.engine.outbox import Outbox
from glmd.daemon.engine.plugins import Plugins
from glmd.daemon.native._engine import Backend, CancelFlag, EngineError, Result, Span
from glmd.daemon.plugins.breadcrumb import Breadcrumb


@dataclass(frozen=True)
class Run:
    """A net that ran: for these slots, and when it was done."""

    kind: Kind
    length: int
    slots: tuple[int, ...]
    done: float


class Compiled:
    """A real backend that takes only what nets of these lengths can do, and says how long they
    would have taken. Of logits it gives no more than matters. `clock`: seconds. With `saved_bytes`
    among its abilities it has the slots that these say, and the others of the backend are where it
    saves to."""

    def __init__(self, backend: Backend, can: Can, seconds: Estimates) -> None:
        self._backend = backend
        self._lengths: dict[Kind, list[int]] = {
            "prefill": can.prefill_lengths,
            "chunk": can.chunk_lengths,
            "decode": can.decode_batches,
        }
        self._seconds = seconds
        slots = backend.capabilities.slots
        self.capabilities = replace(can, slots=can.slots if can.saved_bytes else slots)
        self._hidden = can.slots - 1
        self.saves = 0
        self.clock = 0.0
        self.runs: list[Run] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def save(self, slot: int) -> NDArray[np.uint8]:
        """Into a slot that the loop does not know of."""
        n = self._backend.length(slot)
        self._hidden += 1
        self._backend.copy_prefix(slot, self._hidden, n)
        self.saves += 1
        return np.full(n, self._hidden, np.uint8)

    def restore(self, slot: int, saved: NDArray[np.uint8]) -> None:
        self._backend.copy_prefix(int(saved[0]), slot, len(saved))

    def monotonic(self) -> float:
        return self.clock

    def forward(self, spans: Seq[Span], cancel: CancelFlag) -> list[Result]:
        tokens = self._tokens(spans)
        kind, length = self._net(tokens, spans[0].pos)
        self.clock += self._seconds[kind, length]
        self.runs.append(Run(kind, length, tuple(tokens), self.clock))
        results = self._backend.forward(spans, cancel)
        for span, result in zip(spans, results, strict=True):
            if span.keep and result.logits is not None:
                least = np.sort(result.logits)[-min(span.keep, len(result.logits))]
                result.logits[result.logits < least] = -np.inf
        return results

    def _tokens(self, spans: Seq[Span]) -> dict[int, int]:
        """How many each slot is given, behind what it has."""
        tokens: dict[int, int] = {}
        for span in spans:
            end = self._backend.length(span.slot) + tokens.setdefault(span.slot, 0)
            if span.pos != end:
                raise EngineError(f"slot {span.slot} ends at {end}, not {span.pos}")
            tokens[span.slot] += len(span.tokens)
        return tokens

    def _net(self, tokens: dict[int, int], position: int) -> tuple[Kind, int]:
        counts = list(tokens.values())
        if set(counts) == {1}:
            kind, n = "decode", len(counts)
        elif len(counts) == 1:
            kind, n = ("chunk" if position else "prefill"), counts[0]
        else:
            raise EngineError(f"no net takes {counts} tokens")
        for length in self._lengths[kind]:
            if length >= n:
                return kind, length
        raise EngineError(f"no {kind} net takes {n}")


class Script(Outbox):
    """Submits each request when so many tokens have been given, or when there is nothing else to
    do, and stops the loop when all have ended."""

    def __init__(self, inbox: Inbox, clock: Compiled | None, script: list[tuple[int, Submit]]):
        self._inbox = inbox
        self._clock = clock
        self._script = list(script)
        self._unfinished = 0
        self._given = 0
        self.tokens: dict[int, list[int]] = {}
        self.times: dict[int, list[float]] = {}
        self.cached: dict[int, int] = {}
        self.logprobs: dict[int, list[Logprob | None]] = {}
        self.scores: dict[int, list[Logprob]] = {}
        self.failures: list[Failed] = []
        self._go_on()

    @property
    def silence(self) -> float:
        return 0.0

    def put(self, event: Event) -> None:
        if isinstance(event, Failed):
            self.failures.append(event)
            self._unfinished -= 1
        elif isinstance(event, Prefilled):
            self.cached[event.id] = event.cached
        elif isinstance(event, PromptLogprobs):
            self.scores[event.id] = event.items
        for token in event.tokens if isinstance(event, Step) else []:
            self._given += 1
            self.tokens.setdefault(token.id, []).append(token.token)
            self.logprobs.setdefault(token.id, []).append(token.logprob)
            self.times.setdefault(token.id, []).append(self._clock.clock if self._clock else 0.0)
            self._unfinished -= token.finish is not None
        self._go_on()

    def flush(self) -> None:
        pass

    def _go_on(self) -> None:
        while self._script and (self._script[0][0] <= self._given or not self._unfinished):
            self._unfinished += 1
            self._inbox.put(self._script.pop(0)[1])
        if not self._unfinished:
            self._inbox.put(Stop())


def serve(
    backend: Backend | Compiled, script: list[tuple[int, Submit]], estimates: Estimates
) -> Script:
    """Run a loop until every request has its answer."""
    inbox = Inbox(CancelFlag())
    told = Script(inbox, backend if isinstance(backend, Compiled) else None, script)
    plugins = Plugins(Breadcrumb.create(), 0)
    Loop(backend, inbox, told, plugins, estimates).run()  # type: ignore[arg-type]
    return told
