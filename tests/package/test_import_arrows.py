"""Import arrows point one way: frontends → glmd ← daemon, plugins → glmd, compiler → glmd."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ROOMS = ("glmd", "daemon", "frontends", "compiler", "plugins")

# A room imports itself and glmd. The exceptions are lazy, each with its reason.
EXCEPTIONS = {
    ("glmd/__init__.py", "frontends"): "glmd.Client is re-exported",
    ("glmd/__main__.py", "frontends"): "the console script is the CLI",
    **{
        (f"frontends/cli/{name}.py", "compiler"): "the compile commands run the compiler"
        for name in (
            "compiling",
            "commands/compile/all",
            "commands/compile/estimate",
            "commands/compile/verify",
            "commands/toolchain",
            "doctor/machine",
        )
    },
}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, inside a function or TYPE_CHECKING) for each absolute import of a file."""
    tree = ast.parse(path.read_text())
    top_level = set(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node not in top_level
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.level:
                raise AssertionError(f"{path}: relative import; write the full name")
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node not in top_level


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "glmd":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "glmd"


SOURCES = [
    pytest.param(path, room, id=str(path.relative_to(ROOT)))
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
]


@pytest.mark.parametrize(("path", "room"), SOURCES)
def test_imports_only_what_its_room_may(path: Path, room: str) -> None:
    name = str(path.relative_to(ROOT))
    for module, lazy in imports(path):
        target = room_of(module)
        if target is None or target in {room, "glmd"}:
            continue
        assert (name, target) in EXCEPTIONS, f"{name} imports {module}"
        assert lazy, f"{name} must import {module} lazily"


def in_room(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", in_room("daemon/engine"), ids=str)
def test_the_engine_sees_no_text(path: Path) -> None:
    for module, _ in imports(path):
        assert not module.startswith(
            ("glmd.daemon.tokenizer", "glmd.daemon.chat", "glmd.daemon.request", "sentencepiece")
        ), module


@pytest.mark.parametrize("path", in_room("daemon/server"), ids=str)
def test_the_server_sees_no_tensors(path: Path) -> None:
    for module, _ in imports(path):
        assert not module.startswith(("numpy", "glmd.daemon.native", "glmd.daemon.engine")), module


CORE = [
    path
    for path in in_room("daemon")
    if not path.is_relative_to(ROOT / "daemon/engine")
    and not path.is_relative_to(ROOT / "daemon/native")
]


# Of the engine's room, what neither loads the compiled module nor computes: the messages, their
# framing, and the table of sampler stages.
SHARED_WITH_THE_CORE = (
    "glmd.daemon.engine.messages",
    "glmd.daemon.engine.transport",
    "glmd.daemon.engine.stages",
)


@pytest.mark.parametrize("module", SHARED_WITH_THE_CORE)
def test_what_the_engine_shares_needs_no_engine(module: str) -> None:
    path = ROOT / module.removeprefix("glmd.").replace(".", "/")
    for imported, _ in imports(path.with_suffix(".py")):
        assert not imported.startswith(("glmd.daemon.native", "numpy")), imported


@pytest.mark.parametrize("path", CORE, ids=str)
def test_the_core_never_loads_the_engine_or_torch(path: Path) -> None:
    for module, _ in imports(path):
        assert not module.startswith(("glmd.daemon.native", "torch")), module
        if module.startswith("glmd.daemon.engine"):
            assert module.startswith(SHARED_WITH_THE_CORE), module
