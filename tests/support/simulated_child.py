"""The process of support.simulated: takes pickled calls and answers them, until its input ends.

python -I simulated_child.py REQUESTS ANSWERS         two descriptors
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import numpy as np

from glmd.daemon.native import _engine as native


def spans(steps: list[tuple[Any, ...]]) -> list[native.Span]:
    made = []
    for slot, pos, tokens, want, head, keep in steps:
        settings = None
        if head is not None:
            *numbers, history = head
            settings = native.HeadSettings(*numbers, np.array(history, np.int32))
        ids = np.array(tokens, np.int32)
        made.append(native.Span(slot, pos, ids, native.Want[want], settings, keep))
    return made


class Server:
    """The calls there are."""

    def __init__(self) -> None:
        self.backend: native.Bm1684xBackend | None = None

    def load(self, model: str, options: dict[str, Any]) -> None:
        self.backend = native.Bm1684xBackend(model, **options)

    def close(self) -> None:
        self.backend = None

    def forward(self, steps: list[tuple[Any, ...]], cancelled: bool) -> list[tuple[Any, ...]]:
        cancel = native.CancelFlag()
        if cancelled:
            cancel.set()
        assert self.backend is not None
        results = self.backend.forward(spans(steps), cancel)
        return [(r.token, r.candidate_ids, r.candidate_probs, r.logits) for r in results]

    def facts(self) -> dict[str, Any]:
        assert self.backend is not None
        info, can = self.backend.info, self.backend.capabilities
        names = [name for name in dir(info) if not name.startswith("_")]
        return {name: getattr(info, name) for name in names} | {
            "slots": can.slots,
            "decode_batches": can.decode_batches,
            "prefill": can.prefill.name,
            "prefill_lengths": can.prefill_lengths,
            "chunk_lengths": can.chunk_lengths,
            "outputs": [want.name for want in can.outputs],
            "devices": can.devices,
            "saved_bytes": can.saved_bytes,
        }

    def traffic(self) -> dict[str, int]:
        assert self.backend is not None
        traffic = self.backend.traffic
        return {name: getattr(traffic, name) for name in dir(traffic) if not name.startswith("_")}

    def stats(self) -> list[tuple[float, ...]]:
        assert self.backend is not None
        return [(s.device, s.memory_total, s.memory_used) for s in self.backend.stats()]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


def main() -> None:
    requests = os.fdopen(int(sys.argv[1]), "rb")
    answers = os.fdopen(int(sys.argv[2]), "wb")
    server = Server()
    while True:
        try:
            method, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            answer: Any = ("ok", getattr(server, method)(*arguments))
        except native.EngineError as error:
            cancelled = isinstance(error, native.StepCancelled)
            answer = ("refused", (error.call, error.status, str(error), cancelled))
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
