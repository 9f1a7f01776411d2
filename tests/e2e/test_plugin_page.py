"""docs/plugins.md: what it shows works, and what there is it names."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.documents import DOCS, ROOT, section

from glmd import hookspecs
from glmd.sampler import Sampler, SamplerContext
from glmd.testing import SamplerHarness

PAGE = (DOCS / "plugins.md").read_text()
SHOUT, BAN, TEST = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
SHIPPED = sorted(p.stem for p in (ROOT / "plugins").glob("[a-z]*.py"))


def samplers(source: str) -> list[Sampler]:
    """What a plugin's file registers."""
    found: list[Sampler] = []
    names: dict[str, Any] = {}
    exec(source, names)
    names["glmd_register_samplers"](found.append)
    return found


def test_the_first_plugin_is_ten_lines_and_shouts() -> None:
    assert len([line for line in SHOUT.splitlines() if line]) <= 10
    (shout,) = samplers(SHOUT)
    assert shout.name in section(PAGE, "Ten lines")
    words = [b"", b"yes", b"YES", b" no", b" 42", "你".encode(), b"No"]
    harness = SamplerHarness(shout, vocab_bytes=words)
    logits = np.array([0, 9, 0, 9, 0, 0, 9], np.float32)
    drawn = {harness.answer(logits=logits, seed=s, length=1).tokens[0] for s in range(200)}
    assert drawn == {0, 2, 4, 5}


def test_its_tests_pass(tmp_path: Path) -> None:
    (tmp_path / "ban.py").write_text(BAN)
    (tmp_path / "test_ban.py").write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_every_hook_is_there_with_its_arguments() -> None:
    hooks = {
        name: list(inspect.signature(value).parameters)
        for name, value in vars(hookspecs).items()
        if name.startswith("glmd_")
    }
    shown = re.findall(r"^\| `(glmd_\w+)\((.*?)\)`", section(PAGE, "Hooks"), re.M)
    assert {name: re.findall(r"\w+", words) for name, words in shown} == hooks
    assert len(hooks) <= 8


def test_every_sampler_that_ships_is_there_with_its_parameters() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section(PAGE, "The samplers that ship"), re.M)
    found: dict[str, dict[str, str]] = {}
    for name in SHIPPED:
        registered: list[Sampler] = []
        getattr(import_module(f"glmd.plugins.{name}"), "glmd_register_samplers", print)(
            registered.append
        )
        for sampler in registered:
            found[sampler.name] = {
                field.name: "" if field.required else str(field.default)
                for field in msgspec.structs.fields(sampler.Params)
            }
    found["json_schema"]["schema"] = "{}"  # a default that msgspec keeps as a factory
    assert {n: dict(re.findall(r"`(\w+)`(?: \((.*?)\))?", text)) for n, text in rows} == found
    assert len(found) >= 7


@pytest.mark.parametrize("kind", [SamplerContext, Sampler])
def test_every_part_of_the_contract_is_there(kind: type) -> None:
    named = set(re.findall(r"`(\w+)", PAGE))
    own = {name for name in vars(kind) if not name.startswith("_")}
    assert own <= named, own - named


def test_the_package_is_the_example() -> None:
    project = (ROOT / "examples" / "glmd-lipogram" / "pyproject.toml").read_text()
    shown = re.findall(r"^    (\S.*)$", section(PAGE, "A package"), re.M)
    assert len(shown) == 6
    assert all(line in project.splitlines() for line in shown)
