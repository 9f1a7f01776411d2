"""Finding TPU-MLIR in the places where it may be, and saying so where it is not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support import cli

from glmd.compiler.toolchain.find import find_root, find_toolchain
from glmd.compiler.toolchain.install import find_python, install_toolchain, remove_toolchain
from glmd.compiler.toolchain.toolchain import TRANSFORM, Toolchain
from glmd.errors import CompileFailed

installed = pytest.mark.needs("tpu_mlir")


@pytest.fixture
def real() -> Toolchain:
    return find_toolchain()


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No toolchain in sight: an empty data folder, a bare PATH, no TPUC_ROOT."""
    monkeypatch.setenv("GLMD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv("TPUC_ROOT", raising=False)
    return tmp_path


@installed
def test_its_tools_run(real: Toolchain) -> None:
    real.check_tools()
    told = cli.call("toolchain", "status", "--json")
    assert json.loads(told.stdout) == {
        "version": real.version,
        "root": str(real.root),
        "python": str(real.python),
    }


@installed
def test_by_the_environment_around_it(real: Toolchain, nowhere: Path) -> None:
    assert find_toolchain(real.python.parents[1]) == real


@installed
def test_by_its_root(real: Toolchain, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_toolchain(real.root) == real
    monkeypatch.setenv("TPUC_ROOT", str(real.root))
    assert find_toolchain() == real


@installed
@pytest.mark.parametrize("folder", ["python/tools", "environment"])
def test_on_path(
    folder: str, real: Toolchain, nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own folder of tools, as in the vendor's image, or the scripts that pip made."""
    tools = real.python.parent if folder == "environment" else real.root / folder
    monkeypatch.setenv("PATH", os.pathsep.join([str(tools), os.environ["PATH"]]))
    assert find_toolchain() == real


@installed
def test_what_it_is_told_first_wins(real: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPUC_ROOT", "/nowhere")
    assert find_root(real.root) == real.root
    with pytest.raises(CompileFailed, match="TPUC_ROOT names /nowhere"):
        find_root()


def test_nowhere(nowhere: Path) -> None:
    with pytest.raises(CompileFailed, match="was not found") as caught:
        find_toolchain()
    assert "glmd toolchain install" in caught.value.hint
    assert "not installed" in cli.call("doctor").stdout


def test_a_folder_without_one(nowhere: Path) -> None:
    with pytest.raises(CompileFailed, match="there is no TPU-MLIR in it"):
        find_toolchain(nowhere)


def test_one_that_does_not_run(nowhere: Path) -> None:
    tool = nowhere / TRANSFORM
    tool.parent.mkdir(parents=True)
    tool.touch()
    with pytest.raises(CompileFailed, match=f"The TPU-MLIR at {nowhere} "):
        find_toolchain(nowhere)


def test_an_installation_without_python_3_10(nowhere: Path) -> None:
    if Path("/usr/bin/python3.10").exists():
        pytest.skip("this system's own Python is 3.10")
    with pytest.raises(CompileFailed, match=r"there is no python3\.10 on PATH or in pyenv"):
        install_toolchain(lambda step: None)
    assert not any((nowhere / "data").glob(".tpu-mlir/*"))


def test_a_shim_that_leads_nowhere_is_no_python(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = nowhere / "python3.10"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    behind = nowhere / "pyenv" / "versions" / "3.10.99" / "bin" / "python3.10"
    behind.parent.mkdir(parents=True)
    behind.write_text("#!/bin/sh\necho /the/real/one\n")
    behind.chmod(0o755)
    monkeypatch.setenv("PATH", str(nowhere))
    assert find_python() == Path("/the/real/one")


def test_nothing_to_remove(nowhere: Path) -> None:
    assert remove_toolchain() == 0


def test_removing(nowhere: Path) -> None:
    """Of an installation that did not come to its end, too."""
    folder = nowhere / "data" / ".tpu-mlir"
    folder.mkdir(parents=True)
    (folder / "part").write_bytes(bytes(10_000))
    assert remove_toolchain() >= 10_000
    assert not folder.exists()
