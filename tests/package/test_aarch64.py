"""The engine for the SoC boxes: cross-compiled, and tested under an emulator."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.needs("aarch64")
@pytest.mark.timeout(3600)
def test_the_native_tests_pass_on_aarch64() -> None:
    made = subprocess.run(
        ["make", "test-aarch64"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    assert "100% tests passed" in made.stdout
