"""Comparing what the simulator computes with what torch expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmd.bmodel.nets import Bmodel
from glmd.bmodel.reader import read_bmodel
from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.compiler.verify.reference import Expected
from glmd.compiler.verify.seed import seed_expectations
from glmd.compiler.verify.serve import serve_expectations
from glmd.compiler.verify.simulator import Simulator
from glmd.errors import CompileFailed

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
    expectations = seed_expectations if build.recipe == "seed" else serve_expectations
    bmodel = read_bmodel(model)
    with Simulator(toolchain, model, log) as simulator:
        for expected in expectations(checkpoint, build):
            _check_stage(bmodel, expected)
            yield _verdict(expected, simulator.run(expected.net.name, expected.inputs))


def _check_stage(bmodel: Bmodel, expected: Expected) -> None:
    """That the net is made for these inputs: what it does with others is said nowhere."""
    net = bmodel.net(expected.net.name)
    wanted = [f"{port.dtype} {list(port.shape)}" for port in expected.net.inputs]
    stages = [] if net is None else [list(map(str, stage.on(0).inputs)) for stage in net.stages]
    if wanted not in stages:
        found = " or ".join(", ".join(stage) for stage in stages) or "nothing"
        raise CompileFailed(
            f"{expected.net.name} takes {found}, not {', '.join(wanted)}.",
            hint="Give the options and the checkpoint that the bmodel was made with.",
        )


def _verdict(expected: Expected, found: list[NDArray[np.generic]]) -> Verdict:
    cosines, errors = [], []
    for port, wanted, given in zip(expected.net.outputs, expected.outputs, found, strict=True):
        a = wanted[: expected.rows].astype(np.float64).ravel()
        b = given[: expected.rows].astype(np.float64).ravel()
        errors.append(float(np.abs(a - b).max()))
        # Tokens are right or wrong: an angle between them says nothing.
        cosines.append(float(errors[-1] == 0) if port.dtype == "i32" else _cosine(a, b))
    # A NaN is the smallest of all.
    return Verdict(expected.net.key, float(np.min(cosines)), float(np.max(errors)))


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
