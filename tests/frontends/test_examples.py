"""The programs in examples/ and the code in docs/python.md run as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.alone import alone
from support.bmodels import COMPILING
from support.shell import shell

import glmd
from glmd.compiler.toolchain.find import find_root
from glmd.facts import DaemonFacts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

TOOLCHAIN = find_root()  # the user's: tests have data folders of their own


@pytest.mark.parametrize(
    "example", ["stream.py", "many.py", "tools.py", "two_frontends.py", "four_clients.py"]
)
def test_an_example(shared_daemon: DaemonFacts, example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", str(ROOT / "examples" / example)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout


@pytest.mark.timeout(180)
def test_the_demo() -> None:
    done = shell(f"bash '{ROOT}/examples/demo.sh'", patience=170)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "loaded the model 1 time and served 2 clients" in done.stdout
    assert len(done.stdout.rpartition("Now you:")[2].strip().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.needs("tpu_mlir")
@pytest.mark.timeout(2700)
def test_the_demo_of_the_chip() -> None:
    """What it has compiled once it does not compile again."""
    script = f"bash '{ROOT}/examples/demo_bm1684x.sh'"
    with alone(COMPILING):  # support.nano_bmodels compiles into the same folder
        done = shell(script, patience=1700, TPUC_ROOT=str(TOOLCHAIN))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loaded the bmodel 1 time and served 4 clients" in done.stdout
    assert re.search(r"^[1-9]\d* of its \d+ decodes gave each of the four", done.stdout, re.M)
    assert len(done.stdout.rpartition("Now you:")[2].strip().splitlines()) == 3
    assert "\x1b" not in done.stdout


def test_the_code_of_the_page(shared_daemon: DaemonFacts) -> None:
    """Block by block, with the names that the blocks before have made. The one about tools, which
    shows a loop without its function, is examples/tools.py."""
    with glmd.Client() as client:
        names: dict[str, object] = {"client": client, "glmd": glmd}
        for block in BLOCKS:
            if "look_up(" not in block:
                exec(compile(block, "docs/python.md", "exec"), names)
                names["client"] = client
    assert len(BLOCKS) >= 8
