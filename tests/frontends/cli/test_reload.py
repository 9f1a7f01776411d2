"""`glmd reload`, and what the other commands make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import call, facts
from support.daemons import Homes
from support.models import model

from glmd import paths

pytestmark = pytest.mark.timeout(120)


def test_another_mode_and_another_model(homes: Homes, tmp_path: Path) -> None:
    other = model(tmp_path / "other", 1)
    pid = facts("start", "--threads", "1", "--slots", "2")["pid"]
    reloaded = facts("reload", "--mode", "int8")
    assert (reloaded["pid"], reloaded["mode"], reloaded["model_loads"]) == (pid, "int8", 2)
    assert reloaded["reload"]["state"] == "done"
    said = call("reload", "--model", str(other)).stdout
    assert said.startswith("The daemon default serves other int8 on cpu, after ")
    assert facts("status")["replicas"][0]["slots"] == 2

    assert call("start", "--model", str(other), "--mode", "int8").returncode == 0
    assert "with --mode int8 instead of f16" in call("start", "--mode", "f16").stderr
    restarted = facts("restart")
    assert restarted["model"] == str(other)
    assert facts("status")["mode"] == "int8"


def test_a_failure_is_told_and_shown(homes: Homes, tmp_path: Path) -> None:
    facts("start", "--threads", "1")
    failed = call("reload", "--model", str(tmp_path / "missing"))
    assert failed.returncode == 1
    assert f"{tmp_path / 'missing'} is not there." in failed.stderr
    assert call("ask", "你好").returncode == 0
    shown = call("status").stdout
    assert f"failed {tmp_path / 'missing'}" in shown
    assert "is not there" in shown


def test_what_config_toml_says_now_counts(homes: Homes, tmp_path: Path) -> None:
    facts("start", "--threads", "1")
    other = model(tmp_path / "other", 1)
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text(f'[daemon]\nmodel = "{other}"\nmode = "int4"\n')
    reloaded = facts("reload")
    assert (reloaded["model_path"], reloaded["mode"]) == (str(other), "int4")
    paths.config_file().write_text("[daemon]\nmode = 5\n")
    assert "table [daemon]" in call("reload").stderr
    assert facts("status")["mode"] == "int4"


def test_without_a_daemon(homes: Homes) -> None:
    assert call("reload").returncode == 3
