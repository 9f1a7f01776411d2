"""docs/architecture.md against the code: its constants and its rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

CONSTANTS = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| (\S+\.py) \|", PAGE, re.MULTILINE)


def test_the_page_has_constants() -> None:
    assert len(CONSTANTS) > 10


@pytest.mark.parametrize(("name", "value", "path"), CONSTANTS)
def test_a_constant_is_what_the_page_says(name: str, value: str, path: str) -> None:
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            assert float(ast.literal_eval(node.value)) == float(value)
            return
    pytest.fail(f"{path} has no {name}")


def test_every_room_of_the_daemon_is_on_the_page() -> None:
    rooms = {path.name for path in (ROOT / "daemon").iterdir() if (path / "__init__.py").exists()}
    named = set(re.findall(r"^      (\w+)/ ", PAGE, re.MULTILINE))
    assert rooms <= named
