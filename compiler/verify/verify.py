"""Comparing what the simulator computes with what torch expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.compiler.verify.reference import Expected, expectations
from glmd.compiler.verify.simulator import Simulator

LEAST_COSINE = 0.999


@dataclass(frozen=True)
class Verdict:
    """Of one net: the smallest cosine and the largest error of its outputs."""

    net: str
    cosine: float
    error: float

    @property
    def passed(self) -> bool:
        return self.cosine >= LEAST_COSINE


def verify(
    checkpoint: Checkpoint, build: Build, model: Path, toolchain: Toolchain, log: Path
) -> Iterator[Verdict]:
    """Each net of `model` on the simulator, whose words go to `log`. Raises CompileFailed where it
    dies or the nets are others than the checkpoint's."""
    with Simulator(toolchain, model, log) as simulator:
        for expected in expectations(checkpoint, build):
            yield _verdict(expected, simulator.run(expected.net.name, expected.inputs))


def _verdict(expected: Expected, found: list[NDArray[np.generic]]) -> Verdict:
    cosines, errors = [], []
    for port, wanted, given in zip(expected.net.outputs, expected.outputs, found, strict=True):
        a = wanted[: expected.rows].astype(np.float64).ravel()
        b = given[: expected.rows].astype(np.float64).ravel()
        errors.append(float(np.abs(a - b).max()))
        # Tokens are right or wrong: an angle between them says nothing.
        cosines.append(float(errors[-1] == 0) if port.dtype == "i32" else _cosine(a, b))
    # A NaN is the smallest of all.
    return Verdict(expected.net.name, float(np.min(cosines)), float(np.max(errors)))


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
