"""Commands that a package adds to `glmd`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import call

PACKAGE = """
import click, glmd

@click.command("roll")
@click.option("--sides", default=6)
def roll(sides):
    click.echo(f"rolled {sides}")

@glmd.hookimpl
def glmd_register_commands(group):
    group.add_command(roll)
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One with a command, one that cannot be imported."""
    info = tmp_path / "glmd_dice_commands-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: glmd-dice-commands\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[glmd.plugins]\nbroken = no_such_module_at_all\ndice = glmd_dice_commands\n"
    )
    (tmp_path / "glmd_dice_commands.py").write_text(PACKAGE)
    monkeypatch.setenv("GLMD_CONFIG", str(tmp_path / "config"))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("glmd_dice_commands", None)


def test_it_is_a_command_like_others() -> None:
    told = call("roll", "--sides", "20")
    assert (told.returncode, told.stdout) == (0, "rolled 20\n")
    assert "The plugin broken adds no commands: ModuleNotFoundError" in told.stderr


def test_no_package_is_imported_for_the_commands_of_glmd() -> None:
    assert call("version").returncode == 0
    assert call("--help").returncode == 0
    assert "glmd_dice_commands" not in sys.modules


def test_a_command_nobody_has_is_still_none() -> None:
    told = call("rol")
    assert told.returncode == 2
    assert "No such command 'rol'" in told.stderr


def test_who_is_disabled_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMD_PLUGINS", "")
    assert call("roll").returncode == 2
    assert "glmd_dice_commands" not in sys.modules
