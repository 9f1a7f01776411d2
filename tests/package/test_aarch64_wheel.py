"""The wheel for the SoC boxes: cross-compiled, looked into, and used under an emulator."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import emulated
from support.cli import call
from support.daemons import Homes

from glmd import facts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("aarch64", "aarch64_python"),
    pytest.mark.timeout(1800),
]

ROOT = Path(__file__).parents[2]
AARCH64 = 183  # e_machine, elf.h

# Prints greedy tokens of the shipped model, and every bit of the logits that led to them.
LOGITS = """
import sys
import numpy as np
from glmd import paths
from glmd.daemon.engine.loader import load_backend
from glmd.daemon.engine.messages import Load
from glmd.daemon.native import _engine

for mode in ("f16", "int8", "int4"):
    load = Load(str(paths.embedded_model()), "cpu", mode, context=64, slots=1, threads=1)
    backend = load_backend(load, lambda done, total: None).backend
    tokens, pos = list(range(5, 25)), 0
    for _ in range(12):
        span = _engine.Span(0, pos, np.array(tokens, np.int32), _engine.Want.logits)
        logits = backend.forward([span], _engine.CancelFlag())[0].logits
        pos += len(tokens)
        tokens = [int(logits.argmax())]
        print(mode, tokens[0], logits.tobytes().hex())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    made = subprocess.run(
        ["make", "wheel-aarch64", f"DIST={folder}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-4000:]
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path) -> Path:
    return emulated.environment(wheel.parent / "environment", wheel)


def test_its_name_says_for_which_python_it_is(wheel: Path) -> None:
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.endswith(f"-{tag}-{tag}-linux_aarch64.whl")


def test_it_holds_an_engine_for_aarch64_and_all_else_that_is_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (engine,) = (name for name in names if name.endswith(".so"))
        header = archive.read(engine)[:20]
    assert engine.startswith("glmd/daemon/native/_engine.cpython-")
    assert engine.endswith("-aarch64-linux-gnu.so")
    assert header[:5] == b"\x7fELF\x02"
    assert struct.unpack_from("<H", header, 18) == (AARCH64,)
    assert {
        "glmd/py.typed",
        "glmd/compiler/pipeline.py",
        "glmd/daemon/sessions/schema.sql",
        "glmd/frontends/cli/__init__.py",
        "glmd/models/glm3-nano/model-00001-of-00001.safetensors",
        "glmd/models/glm3-nano/tokenizer.model",
        "glmd/plugins/mirostat.py",
    } <= names


def test_the_shipped_model_gives_the_bits_that_it_gives_here(python: Path) -> None:
    said = emulated.run(python, "-c", "import platform; print(platform.machine())")
    assert said.strip() == "aarch64"
    there = emulated.run(python, "-c", LOGITS)
    here = emulated.run(Path(sys.executable), "-c", LOGITS)
    assert there.count("\n") == 36
    assert there == here


def test_a_daemon_on_it_answers(python: Path, homes: Homes) -> None:
    """It is asked by its address: under qemu a process does not know when it was started, which is
    what a daemon is known by."""
    emulated.run(python, "-m", "glmd", "start")
    found = facts.read("default")
    assert found is not None
    core = os.pidfd_open(found.pid)
    try:
        (endpoint,) = found.endpoints
        question = ("ask", "--endpoint", endpoint, "--generation-mode", "greedy", "你好")
        answer = emulated.run(python, "-m", "glmd", *question)
        assert answer.strip()
        assert call(*question).stdout == answer
    finally:
        signal.pidfd_send_signal(core, signal.SIGTERM)
        assert select.select([core], [], [], 60)[0], "the daemon does not end"
        os.close(core)
    homes.check_nothing_left()
