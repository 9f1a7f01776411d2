"""`glmd devices` with the stand-in for Sophgo's libraries, told of what chips to be the driver."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.bmodel_files import write_bmodel
from support.bmodel_nets import Glm
from support.checkpoints import NANO
from support.cli import call
from support.daemons import Homes
from support.engine_processes import until

from glmd import Client, facts, paths, process
from glmd.facts import DaemonFacts

NATIVE = Path(__file__).parents[3] / "daemon" / "native"

CHIPS = """
#include "tests/fake_sophon.h"
static const bool told = [] {
  glmd::test::FakeSophon& fake = glmd::test::fake_sophon();
  fake.chips = 3;
  fake.memory_total = 8192;
  fake.memory_used = 2048;
  %s
  return true;
}();
"""


def driver(folder: Path, more: str = "") -> str:
    """The folder of libraries that show three chips."""
    (folder / "chips.cpp").write_text(CHIPS % more)
    library = folder / "libbmlib.so.0"
    sources = [folder / "chips.cpp", *(NATIVE / "tests").glob("fake_*.cpp")]
    options = ["-std=c++17", "-shared", "-fPIC", "-I", str(NATIVE), "-o", str(library)]
    subprocess.run(["c++", *options, *map(str, sources)], check=True, timeout=100)
    (folder / "libbmrt.so.1.0").symlink_to(library)
    return str(folder)


@pytest.fixture
def others_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One named `other` has chip 1, as far as can be seen from outside."""
    monkeypatch.setenv("GLMD_RUNTIME_DIR", str(tmp_path / "run"))
    paths.make_private(paths.runtime_dir("other"))
    pid = os.getpid()
    facts.write(
        DaemonFacts(
            name="other",
            pid=pid,
            started=process.start_ticks(pid) or 0,
            boot_id="",
            server="",
            protocol=(1, 1),
            state="ready",
            endpoints=[],
            model="",
            backend="bm1684x",
            log="",
            devices=[1],
        )
    )


ASKED = {
    "memory_total": 8 << 30,
    "memory_used": 2 << 30,
    "utilisation": pytest.approx(0.37),
    "temperature": 51.0,
}


@pytest.mark.timeout(200)
@pytest.mark.usefixtures("others_daemon")
def test_free_chips_are_asked_and_used_ones_are_not(tmp_path: Path) -> None:
    folder = driver(tmp_path, "fake.fatal_chip = 1;")
    code, stdout, stderr = call("devices", "--libsophon", folder, "--json")
    assert (code, stderr) == (0, "")
    assert json.loads(stdout) == [
        {"device": 0, "daemon": None, **ASKED},
        {"device": 1, "daemon": "other"},
        {"device": 2, "daemon": None, **ASKED},
    ]
    code, stdout, stderr = call("devices", "--libsophon", folder)
    assert (code, stderr) == (0, "")
    assert [line.split() for line in stdout.splitlines()] == [
        ["device", "used", "by", "memory", "busy", "temperature"],
        ["0", "-", "2.0", "GiB", "of", "8.0", "GiB", "37%", "51", "°C"],
        ["1", "other", "-", "-", "-"],
        ["2", "-", "2.0", "GiB", "of", "8.0", "GiB", "37%", "51", "°C"],
    ]


@pytest.mark.timeout(200)
def test_a_library_that_ends_its_process_ends_nothing_else(tmp_path: Path) -> None:
    folder = driver(tmp_path, "fake.fatal_chip = 1;")
    code, stdout, stderr = call("devices", "--libsophon", folder, "--json")
    assert (code, stderr) == (0, "")
    first, *others = json.loads(stdout)
    assert first == {"device": 0, "daemon": None, **ASKED}
    assert [row["device"] for row in others] == [1, 2]
    for row in others:
        assert row["problem"] == (
            "The library ended the process that asked it, with status -6. See whether bm-smi works."
        )


@pytest.mark.timeout(200)
def test_another_chip_says_what_it_is(tmp_path: Path) -> None:
    folder = driver(tmp_path, "fake.chip_id = 0x1684;")
    code, stdout, stderr = call("devices", "--libsophon", folder)
    assert code == 0
    assert len(stdout.splitlines()) == 4
    assert stderr.count("is no BM1684X: it says 5764") == 3


def test_a_folder_without_the_library(tmp_path: Path) -> None:
    why = (
        f"There is no libbmlib.so in {tmp_path}. "
        "Name the folder that has it, or leave --libsophon out.\n"
    )
    assert call("devices", "--libsophon", str(tmp_path)) == (0, "", why)
    assert call("devices", "--libsophon", str(tmp_path), "--json") == (0, "[]\n", why)


@pytest.mark.timeout(200)
def test_a_daemon_is_asked_about_its_chip(homes: Homes, tmp_path: Path) -> None:
    model = write_bmodel(tmp_path / "model.bmodel", Glm().nets())
    folder = driver(tmp_path)
    words = ["--devid", "1", "--libsophon", folder, "--model", str(model)]
    started = call("start", *words, "--tokenizer", str(NANO / "tokenizer.model"))
    assert started.returncode == 0, started.stderr
    with Client() as client:  # the engine tells of its chip though it has nothing to do
        until(lambda: client.status().replicas[0].devices, bool)
    told = json.loads(call("devices", "--libsophon", folder, "--json").stdout)
    assert told == [
        {"device": 0, "daemon": None, **ASKED},
        {"device": 1, "daemon": "default", **ASKED},
        {"device": 2, "daemon": None, **ASKED},
    ]
    assert call("stop").returncode == 0
    homes.check_nothing_left()
