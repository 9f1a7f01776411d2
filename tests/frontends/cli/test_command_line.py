"""What every command has in common: exit codes, clean stdout, sentences instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.cli import call, run
from support.daemons import Homes
from support.scripted_daemon import ScriptedDaemon

import glmd
from glmd.frontends.cli.app import COMMANDS, cli
from glmd.wire.replies import Failure
from glmd.wire.requests import AnyRequest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(autouse=True)
def nothing_runs(homes: Homes) -> None:
    """Folders of the test's own, without a daemon."""


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"glmd {glmd.__version__}\n", "")
    assert json.loads(run("version", "--json").stdout)["glmd"] == glmd.__version__


def test_the_help_of_compiling_a_checkpoint() -> None:
    code, stdout, stderr = call("compile", "X", "--help")
    assert (code, stderr) == (0, "")
    assert stdout.startswith("Usage: glmd compile [OPTIONS] CHECKPOINT\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    code, stdout, stderr = call(command, "--help")
    assert (code, stderr) == (0, "")
    assert stdout.startswith(f"Usage: glmd {command}")


@pytest.mark.parametrize(
    "words",
    [
        ["ask", "你好"],
        ["status"],
        ["ps", "--json"],
        ["stop"],
        ["sessions", "list"],
        ["sessions", "show", "x"],
        ["chat"],
    ],
    ids=" ".join,
)
def test_without_a_daemon(words: list[str]) -> None:
    sentence = "glmd: No daemon named default is running.\nStart it with `glmd start`.\n"
    assert call(*words) == (3, "", sentence)


def test_without_a_daemon_as_a_process() -> None:
    done = run("ask", "你好")
    assert (done.returncode, done.stdout) == (3, "")
    assert "Start it with `glmd start`." in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["dance"],
        ["ask", "--temperature", "hot", "x"],
        ["ask", "--temperature", "-1", "x"],
        ["ask", "--top-p", "2", "x"],
        ["ask", "--generation-mode", "beam", "x"],
        ["ask", "--logit-bias", "x", "x"],
        ["ask", ""],
        ["ask"],
        ["start", "--devid", "0,x"],
        ["start", "--devid", "1,1"],
        ["start", "--mode", "int3"],
        ["start", "--name", "../elsewhere"],
        ["status", "--name", ""],
        ["completion", "tcsh"],
    ],
    ids=" ".join,
)
def test_usage(words: list[str]) -> None:
    code, stdout, stderr = call(*words)
    assert (code, stdout) == (2, "")
    assert "Error: " in stderr


def test_an_unknown_command_names_those_there_are() -> None:
    _, _, stderr = call("dance")
    assert all(command in stderr for command in COMMANDS)


@pytest.mark.parametrize(("code", "expected"), [("busy", 4), ("internal", 1), ("stopping", 1)])
def test_exit_codes_of_errors(tmp_path: Path, code: str, expected: int) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(Failure(id=request.id, code=code, message="No.", hint="Do this."))

    with ScriptedDaemon(tmp_path, script) as daemon:
        told = call("ask", "hello", "--endpoint", daemon.endpoint)
    assert told == (expected, "", "glmd: No.\nDo this.\n")


def test_a_traceback_only_for_who_wants_it() -> None:
    plain, debugged = run("status"), run("status", GLMD_DEBUG="1")
    assert "Traceback" not in plain.stderr
    assert debugged.stderr.startswith("Traceback")
    assert debugged.stderr.endswith(plain.stderr)
    assert debugged.returncode == plain.returncode == 3


def test_a_quick_start_imports_little() -> None:
    """What takes long to import is imported by what needs it."""
    slow = ["zmq", "msgspec", "rich", "prompt_toolkit", "numpy", "psutil", "glmd.daemon", "asyncio"]
    probe = (
        "import sys; sys.argv = ['glmd', '--version']\n"
        "from glmd.__main__ import main\n"
        "try: main()\n"
        f"finally: print([name for name in {slow} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_GLMD_COMPLETE" in call("completion", shell)[1]


def test_completion_of_a_word() -> None:
    done = run(_GLMD_COMPLETE="bash_complete", COMP_WORDS="glmd st", COMP_CWORD="1")
    assert [line.split(",")[1] for line in done.stdout.split()] == ["start", "stop", "status"]


def test_devices_without_the_library() -> None:
    why = (
        "The BM1684X library (libbmlib.so) is not installed. "
        "It comes with the driver of the card; the CPU needs none.\n"
    )
    assert call("devices") == (0, "", why)
    assert call("devices", "--json") == (0, "[]\n", why)


def test_doctor() -> None:
    code, stdout, stderr = call("doctor", "--json")
    assert (code, stderr) == (0, "")
    found = {finding["check"]: finding for finding in json.loads(stdout)}
    assert found["python"]["state"] == "ok"
    assert found["engine"]["state"] == "ok"
    assert "glm3-nano on cpu" in found["model"]["found"]
    assert found["accelerators"]["state"] == "ok"
    assert found["accelerators"]["found"] == "no BM1684X chips"
    assert found["accelerators"]["next"] == ""
    assert found["daemon"]["next"] == "Start it with `glmd start`."


def test_doctor_finds_what_is_broken(homes: Homes) -> None:
    (homes.root / "config").mkdir()
    (homes.root / "config" / "config.toml").write_text('[daemon]\nmodel = "/no/such/model"\n')
    homes.runtime.mkdir()
    (homes.runtime / "default").mkdir(mode=0o755)
    code, stdout, _ = call("doctor")
    assert code == 1
    lines = stdout.splitlines()
    failed = {line[6:21].rstrip(): at for at, line in enumerate(lines) if line.startswith("fail")}
    assert set(failed) == {"model", "runtime folder"}
    assert "/no/such/model" in lines[failed["model"]]
    assert "chmod 700" in lines[failed["runtime folder"] + 1]


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield max(parameter.opts, key=len)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            member = command.get_command(click.Context(command), name)
            assert member is not None
            yield from options(member)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_the_command_line_is_complete(name: str) -> None:
    """docs/cli.md names every command and every option."""
    page = (DOCS / "cli.md").read_text()
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert f"glmd {name}" in page
    for option in options(command):
        assert f"`{option}" in page, option
