"""Tests that need more of the system than a compiler: `@pytest.mark.needs("torch")`.

Where it is missing they are skipped and listed in one table at the end, with the command that would
enable them. GLMD_REQUIRE_ALL=1, as CI sets it, turns such a skip into a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from glmd.compiler.toolchain.find import find_root

ROOT = Path(__file__).parents[2]
GIB = 1 << 30


class Requirement(NamedTuple):
    """Something a machine may lack; `enable` is what to do about it."""

    met: Callable[[], bool]
    enable: str


def real_tokenizer() -> Path:
    """The folder with ChatGLM3-6B's own tokenizer.model and config.json."""
    given = os.environ.get("GLMD_REAL_TOKENIZER")
    return Path(given) if given else ROOT.parent / "shared" / "data" / "chatglm3-6b"


def _importable(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


REQUIREMENTS = {
    "torch": Requirement(
        lambda: _importable("torch", "transformers"), ".venv/bin/pip install torch transformers"
    ),
    "export": Requirement(lambda: _importable("torch", "onnx"), ".venv/bin/pip install torch onnx"),
    "tpu_mlir": Requirement(lambda: find_root() is not None, ".venv/bin/glmd toolchain install"),
    "real_tokenizer": Requirement(
        lambda: (real_tokenizer() / "tokenizer.model").is_file(),
        "GLMD_REAL_TOKENIZER=<folder with ChatGLM3-6B's tokenizer.model and config.json>",
    ),
    "aarch64": Requirement(
        lambda: bool(shutil.which("aarch64-linux-gnu-g++") and shutil.which("qemu-aarch64")),
        "apt-get install g++-aarch64-linux-gnu qemu-user",
    ),
    "aarch64_python": Requirement(
        lambda: (ROOT / "build" / "aarch64-python" / ".complete").is_file(), "make aarch64-python"
    ),
    "room_for_6b": Requirement(
        lambda: (
            shutil.disk_usage("/tmp").free > 8 * GIB and psutil.virtual_memory().available > 8 * GIB
        ),
        "8 GiB of free disk in /tmp and 8 GiB of free memory",
    ),
}

_missed: dict[str, int] = {}
_WORKERS = "glmd_missed"  # under which a process that runs tests for another one tells it the same


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(name): skipped where the requirement is not met")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    met = {name: requirement.met() for name, requirement in REQUIREMENTS.items()}
    for item in items:
        for marker in item.iter_markers("needs"):
            for name in marker.args:
                if met[name]:
                    continue
                _missed[name] = _missed.get(name, 0) + 1
                if os.environ.get("GLMD_REQUIRE_ALL") == "1":
                    item.add_marker(pytest.mark.usefixtures("_requirement_missing"))
                else:
                    item.add_marker(pytest.mark.skip(reason=f"needs {name}"))


@pytest.fixture
def _requirement_missing(request: pytest.FixtureRequest) -> None:
    names = [n for m in request.node.iter_markers("needs") for n in m.args if n in _missed]
    pytest.fail(f"GLMD_REQUIRE_ALL=1, and this machine lacks {', '.join(names)}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if (told := getattr(session.config, "workeroutput", None)) is not None:
        told[_WORKERS] = _missed


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process that ran tests has ended; each of them has collected all tests."""
    _missed.update(getattr(node, "workeroutput", {}).get(_WORKERS, {}))


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    if _missed:
        terminalreporter.section("not run on this machine")
        for name, count in sorted(_missed.items()):
            terminalreporter.line(f"{count:5} tests need {name:16} {REQUIREMENTS[name].enable}")
    return (yield)
