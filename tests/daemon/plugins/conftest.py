"""Plugins in folders of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLMD_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("GLMD_PLUGINS", raising=False)
    return tmp_path / "config"
