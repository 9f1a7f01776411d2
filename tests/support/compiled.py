"""The CPU backend with the abilities of a bmodel, on a clock that stands still but for its nets."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from typing import Any

from support.abilities import Can

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.loop import Loop
from glmd.daemon.engine.messages import Event, Failed, Prefilled, Step, Stop, Submit
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
    would have taken. `clock`: seconds."""

    def __init__(self, backend: Backend, can: Can, seconds: Estimates) -> None:
        self._backend = backend
        self._lengths: dict[Kind, list[int]] = {
            "prefill": can.prefill_lengths,
            "chunk": can.chunk_lengths,
            "decode": can.decode_batches,
        }
        self._seconds = seconds
        self.capabilities = replace(can, slots=backend.capabilities.slots)
        self.clock = 0.0
        self.runs: list[Run] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def monotonic(self) -> float:
        return self.clock

    def forward(self, spans: Seq[Span], cancel: CancelFlag) -> list[Result]:
        for span in spans:
            if span.pos != self._backend.length(span.slot):
                raise EngineError(f"position {span.pos} is not where slot {span.slot} ends")
        kind, length = self._net(spans)
        self.clock += self._seconds[kind, length]
        self.runs.append(Run(kind, length, tuple(span.slot for span in spans), self.clock))
        return self._backend.forward(spans, cancel)

    def _net(self, spans: Seq[Span]) -> tuple[Kind, int]:
        counts = [len(span.tokens) for span in spans]
        if counts == [1] * len({span.slot for span in spans}):
            kind, n = "decode", len(spans)
        elif len(spans) == 1:
            kind, n = ("chunk" if spans[0].pos else "prefill"), counts[0]
        else:
            raise EngineError(f"no net takes spans of {counts} tokens")
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
        for token in event.tokens if isinstance(event, Step) else []:
            self._given += 1
            self.tokens.setdefault(token.id, []).append(token.token)
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
