"""The wheel: what is in it, and that it works where nothing else of the project is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        # A folder of its own: the checkout's is in use by the editable install.
        [
            *command,
            f"--config-settings=build-dir={ROOT / 'build' / 'wheel'}",
            "-w",
            str(folder),
            str(ROOT),
        ],
        check=True,
    )
    (built,) = folder.glob("glmd-*.whl")
    return built


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_holds_the_package_and_no_sources_of_the_engine(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for expected in (
        "glmd/__init__.py",
        "glmd/py.typed",
        "glmd/daemon/sessions/schema.sql",
        "glmd/frontends/cli/__init__.py",
        "glmd/models/glm3-nano/config.json",
        "glmd/models/glm3-nano/tokenizer.model",
    ):
        assert expected in names
    assert any(name.startswith("glmd/daemon/native/_engine.") for name in names)
    assert not [name for name in names if name.endswith((".cpp", ".h", "CMakeLists.txt", ".pyc"))]
    assert not [name for name in names if not name.startswith(("glmd/", "glmd-"))]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_serves_from_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    # Its dependencies are taken from here; a plain path line brings no editable installs along.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = tmp_path / "venv" / "lib" / version / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])

    environment = os.environ | {
        "GLMD_RUNTIME_DIR": str(tmp_path / "r"),
        "GLMD_DATA_DIR": str(tmp_path / "d"),
        "GLMD_CONFIG": str(tmp_path / "c"),
    }

    def glmd(*arguments: str) -> str:
        command = [str(python), "-I", "-m", "glmd", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    where = subprocess.run(
        [str(python), "-I", "-c", "import glmd.daemon.native._engine as e; print(e.__file__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(site))
    assert glmd("--version").startswith("glmd ")
    glmd("start")
    try:
        assert glmd("ask", "--generation-mode", "greedy", "你好").strip()
    finally:
        glmd("stop")
