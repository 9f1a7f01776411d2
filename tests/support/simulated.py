"""A BM1684X backend on the simulator, in a process of its own: the simulator prints, and ends the
process when device memory is left behind."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHILD = Path(__file__).with_name("simulated_child.py")
TIMEOUT = 240


class Step(NamedTuple):
    """A span in plain data; `head`: temperature, top_p, penalty, history. `keep` as of Span."""

    slot: int
    pos: int
    tokens: list[int]
    want: str = "logits"
    head: tuple[float, float, float, list[int]] | None = None
    keep: int = 0


@dataclass(frozen=True)
class Answer:
    """A result in plain data."""

    token: int
    ids: NDArray[np.int32]
    probs: NDArray[np.float32]
    logits: NDArray[np.float32] | None


class Refused(Exception):
    """An EngineError of the child. `cancelled`: it was a StepCancelled."""

    def __init__(self, call: str, status: int, sentence: str, cancelled: bool) -> None:
        super().__init__(sentence)
        self.call, self.status, self.cancelled = call, status, cancelled


def simulator_folder() -> Path:
    """With libbmrt, libbmlib and the simulator."""
    from glmd.compiler.toolchain.find import find_root

    root = find_root()
    assert root is not None
    return root / "lib"


class Simulated:
    """The backend's calls, carried out in the child."""

    def __init__(self, requests: Any, answers: Any) -> None:
        self._requests, self._answers = requests, answers

    def call(self, method: str, *arguments: Any) -> Any:
        pickle.dump((method, arguments), self._requests)
        self._requests.flush()
        kind, value = pickle.load(self._answers)
        if kind == "refused":
            raise Refused(*value)
        return value

    def forward(self, *steps: Step, cancelled: bool = False) -> list[Answer]:
        plain = self.call("forward", [tuple(step) for step in steps], cancelled)
        return [Answer(*one) for one in plain]

    def one(self, *step: Any, **fields: Any) -> Answer:
        return self.forward(Step(*step, **fields))[0]


@contextmanager
def simulated(
    model: Path, *, folder: Path | None = None, output: int | None = None, **options: Any
) -> Iterator[Simulated]:
    """Load `model`; `options` as of Bm1684xBackend. Leaving closes it, and fails when the simulator
    finds device memory that was not freed. `output`: a descriptor for what is printed. Raises
    Refused when it cannot be loaded."""
    request_end, requests = os.pipe()
    answers, answer_end = os.pipe()
    options = {"libsophon": str(folder or simulator_folder()), "simulate": True} | options
    options.setdefault("devices", [0])
    child = subprocess.Popen(
        [sys.executable, "-I", str(CHILD), str(request_end), str(answer_end)],
        pass_fds=[request_end, answer_end],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if output is None else output,
        stderr=subprocess.STDOUT,
    )
    os.close(request_end)
    os.close(answer_end)
    with os.fdopen(requests, "wb") as to_child, os.fdopen(answers, "rb") as from_child:
        backend = Simulated(to_child, from_child)
        try:
            backend.call("load", str(model), options)
            yield backend
            backend.call("close")
        finally:
            to_child.close()
            code = child.wait(TIMEOUT)
    assert code == 0, f"the simulator ended with {code}: device memory was not freed"


def ids(*values: int) -> list[int]:
    return list(values)


def greedy(backend: Simulated, slot: int, prompt: Sequence[int], n: int) -> list[int]:
    """`n` tokens behind a prompt, each chosen on the device."""
    token = backend.one(slot, 0, list(prompt), "token").token
    made = [token]
    while len(made) < n:
        pos = len(prompt) + len(made) - 1
        made.append(backend.one(slot, pos, [made[-1]], "token").token)
    return made
