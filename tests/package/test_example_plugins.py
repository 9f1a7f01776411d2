"""The example plugins, installed as packages into an environment of their own and tested there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has what the one of these tests has, and the examples; nothing is
    downloaded."""
    folder = tmp_path_factory.mktemp("examples")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    ours = sysconfig.get_path("purelib")
    (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    for example in EXAMPLES:
        copy = folder / example.name  # a build leaves files beside the sources
        copy.mkdir()
        for name in ("pyproject.toml", "README.md", f"{example.name.replace('-', '_')}.py"):
            (copy / name).write_bytes((example / name).read_bytes())
        run(
            *(python, "-m", "pip", "install", "-q", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-build-isolation", copy),
        )
    return python


def run(*words: object) -> str:
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, cwd="/", timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_are_two() -> None:
    assert [example.name for example in EXAMPLES] == ["glmd-dice", "glmd-lipogram"]


@pytest.mark.timeout(200)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_passes_its_own_tests_where_it_is_installed(python: Path, example: Path) -> None:
    """Imported from where it was installed: the tests are the only file of the checkout."""
    told = run(
        *(python, "-I", "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"),
        *("-c", "/dev/null", "--rootdir", example, example / "tests"),
    )
    assert "passed" in told


def test_examples_are_entry_points(python: Path) -> None:
    probe = (
        "from importlib.metadata import entry_points\n"
        "print(sorted(point.name for point in entry_points(group='glmd.plugins')))"
    )
    assert run(python, "-I", "-c", probe) == "['dice', 'lipogram']\n"


def test_the_interpreter_of_these_tests_has_none_of_them() -> None:
    probe = "import importlib.util as u; print(u.find_spec('glmd_lipogram'))"
    assert run(sys.executable, "-I", "-c", probe) == "None\n"
