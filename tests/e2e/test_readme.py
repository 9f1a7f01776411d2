"""The README's tour, typed as it stands there; only the environment's own activation is left out,
since the tests may run in another one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.checkpoints import Shape, write_checkpoint
from support.daemons import Homes
from support.documents import PAGES, ROOT, links, section, typed
from support.shell import shell

from glmd import facts

README = (ROOT / "README.md").read_text()


@pytest.mark.timeout(180)
def test_the_tour(homes: Homes, tmp_path: Path) -> None:
    """From the first line to the last. The 6B of the last one is a small random checkpoint at the
    place where the README has it, with the layout of the real one."""
    home = tmp_path / "home"
    write_checkpoint(home / "models" / "chatglm3-6b", Shape(vocab=2304))
    first, program, last = typed(section(README, "Sixty seconds"))
    assert (first[0], program[0], last[0]) == ("shell", "python", "shell")

    activate, _, lines = first[1].partition("\n")
    assert activate == ". .venv/bin/activate"
    assert "glmd chat" in lines
    told = shell(lines.replace("glmd chat", "echo 你好 | glmd chat"))
    assert told.returncode == 0, told  # a remark on a long answer may be on stderr
    assert "1 replica on the CPU" in told.stdout

    (tmp_path / "tour.py").write_text(program[1])
    told = shell(f"python -I {tmp_path}/tour.py")
    assert (told.returncode, told.stderr) == (0, ""), told
    assert told.stdout

    told = shell(last[1], HOME=str(home))
    assert (told.returncode, told.stderr) == (0, ""), told
    running = facts.read("default")
    assert running is not None
    assert running.model == str(home / "models" / "chatglm3-6b")


def test_the_two_commands_exist() -> None:
    commands = re.findall(r"^    make (\S+)", README, re.M)
    assert commands == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in links(text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
