"""_engine.pyi says what the compiled module has: the same names, the same members of classes."""

from __future__ import annotations

import ast
import enum
from pathlib import Path

from glmd.daemon.native import _engine as native

STUB = Path(__file__).parents[3] / "daemon" / "native" / "_engine.pyi"


def names_in(body: list[ast.stmt]) -> set[str]:
    names = set()
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
        elif isinstance(node, ast.Assign):
            names |= {ast.unparse(target) for target in node.targets}
    return {name for name in names if not name.startswith("_")}


def public(thing: object) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def test_the_stub_lists_what_the_module_has() -> None:
    stub = ast.parse(STUB.read_text())
    assert names_in(stub.body) == public(native)
    for node in stub.body:
        if not isinstance(node, ast.ClassDef):
            continue
        bound = getattr(native, node.name)
        assert isinstance(bound, type), node.name
        if issubclass(bound, Exception):
            continue  # its attributes belong to the instances
        members = set(bound.__members__) if issubclass(bound, enum.Enum) else public(bound)
        assert names_in(node.body) == members, node.name
