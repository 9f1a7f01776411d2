"""Both backends behind one face, for tests of what both promise."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from support.bmodels import TINY
from support.checkpoints import Shape, write_checkpoint
from support.simulated import Answer, Refused, Step, simulated

from glmd.daemon.engine.loader import load_backend
from glmd.daemon.engine.messages import Load
from glmd.daemon.native import _engine as native

SLOTS = 3


class Engine(Protocol):
    """A backend with its calls in plain data; Refused where it raises EngineError."""

    def call(self, method: str, *arguments: Any) -> Any: ...
    def forward(self, *steps: Step, cancelled: bool = False) -> list[Answer]: ...


class Local:
    """The same face as support.simulated.Simulated for a backend of this process."""

    def __init__(self, backend: native.Backend) -> None:
        self._backend = backend

    def call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self, f"_{method}", getattr(self._backend, method, None))(*arguments)
        except native.EngineError as error:
            raise _refused(error) from error

    def forward(self, *steps: Step, cancelled: bool = False) -> list[Answer]:
        cancel = native.CancelFlag()
        if cancelled:
            cancel.set()
        spans = [
            native.Span(
                s.slot, s.pos, np.array(s.tokens, np.int32), native.Want[s.want], keep=s.keep
            )
            for s in steps
        ]
        try:
            results = self._backend.forward(spans, cancel)
        except native.EngineError as error:
            raise _refused(error) from error
        return [Answer(r.token, r.candidate_ids, r.candidate_probs, r.logits) for r in results]

    def _facts(self) -> dict[str, Any]:
        info, can = self._backend.info, self._backend.capabilities
        return {
            "max_seq": info.max_seq,
            "vocab": info.vocab,
            "slots": can.slots,
            "prefill": can.prefill.name,
            "chunk_lengths": can.chunk_lengths,
            "saved_bytes": can.saved_bytes,
            "outputs": [want.name for want in can.outputs],
        }


def _refused(error: native.EngineError) -> Refused:
    cancelled = isinstance(error, native.StepCancelled)
    return Refused(error.call, error.status, str(error), cancelled)


def reference(shape: Shape, seed: int, seq_length: int, slots: int = 2) -> Local:
    """A random checkpoint on the CPU: F16 weights, F32 arithmetic."""
    with tempfile.TemporaryDirectory(prefix="glmd-reference-") as folder:
        return on_cpu(write_checkpoint(Path(folder) / "model", shape, seed=seed), seq_length, slots)


def on_cpu(model: Path, seq_length: int, slots: int = 2) -> Local:
    load = Load(str(model), "cpu", "f16", context=seq_length, slots=slots, threads=1)
    return Local(load_backend(load, lambda done, total: None).backend)


@contextmanager
def cpu_engine(seq_length: int, seed: int = 0) -> Iterator[Local]:
    """The checkpoint that bmodels of TINY are made of."""
    yield reference(TINY, seed, seq_length, SLOTS)


@contextmanager
def bm1684x_engine(model: Path) -> Iterator[Engine]:
    with simulated(model, slots=SLOTS, vocab=TINY.vocab) as backend:
        yield backend


def append(engine: Engine, slot: int, pos: int, tokens: Sequence[int], want: str) -> Answer:
    """`tokens` behind the first `pos` of a slot, in steps that the backend can do."""
    facts = engine.call("facts")
    longest = {"any": len(tokens), "from_zero": 1}.get(facts["prefill"]) if pos else len(tokens)
    n = max(longest or facts["chunk_lengths"][-1], 1)
    spans = [tokens[i : i + n] for i in range(0, max(len(tokens), 1), n)]
    for span in spans[:-1]:
        engine.forward(Step(slot, pos, list(span), "none"))
        pos += len(span)
    return engine.forward(Step(slot, pos, list(spans[-1]), want))[0]


def continued(engine: Engine, prompt: Sequence[int], n: int) -> list[int]:
    """`n` greedy tokens behind a prompt, in slot 0."""
    made = [append(engine, 0, 0, prompt, "token").token]
    while len(made) < n:
        made.append(append(engine, 0, len(prompt) + len(made) - 1, [made[-1]], "token").token)
    return made
