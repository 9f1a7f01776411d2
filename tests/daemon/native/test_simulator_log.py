"""What the simulator prints while it serves: it must leave the daemon's log readable."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bmodels import TINY, Form, build_bmodel
from support.simulated import greedy, simulated

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


def test_a_token_prints_nothing(tmp_path: Path) -> None:
    model = build_bmodel(TINY, Form())
    printed = []
    for n in (1, 6):
        with (tmp_path / "log").open("w+b") as log:
            with simulated(model, slots=1, output=log.fileno()) as backend:
                assert len(greedy(backend, 0, [5, 6, 7], n)) == n
            log.seek(0)
            printed.append(log.read().splitlines())
    assert printed[0]
    assert printed[1] == printed[0]
