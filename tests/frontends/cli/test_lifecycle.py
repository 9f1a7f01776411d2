"""Starting, restarting and stopping by command, and the log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.checkpoints import NANO
from support.cli import CTRL_C, PYTHON, Terminal, beside, call, facts, run
from support.daemons import Homes

from glmd import control, paths

pytestmark = pytest.mark.timeout(180)  # several daemons in one test, on a machine that may be busy


def test_from_start_to_stop(homes: Homes) -> None:
    first = facts("start", "--threads", "1", "--mode", "int8", "--slots", "3")
    assert first["already_running"] is False
    again = call("start")
    assert again.returncode == 0
    assert f"already serves {first['model']} on cpu (pid {first['pid']})" in again.stdout

    status = facts("status")
    assert (status["pid"], status["mode"], status["replicas"][0]["slots"]) == (
        first["pid"],
        "int8",
        3,
    )

    second = facts("restart", "--slots", "2")
    assert second["pid"] != first["pid"]
    status = facts("status")
    assert (status["mode"], status["replicas"][0]["slots"]) == ("int8", 2)

    stopped = facts("stop")
    assert stopped == {"name": "default", "stopped": True, "pid": second["pid"]}
    assert call("stop").returncode == 3
    homes.check_nothing_left()


def test_daemons_by_name(homes: Homes) -> None:
    one = facts("start", "--name", "one", "--threads", "1")
    two = facts("start", "--name", "two", "--threads", "1")
    assert one["pid"] != two["pid"]
    assert facts("status", "--name", "two")["pid"] == two["pid"]
    assert "No daemon named default" in call("status").stderr
    assert call("stop", "--name", "one").stdout == "The daemon one has stopped.\n"
    assert call("ask", "--name", "two", "你好").returncode == 0
    assert call("stop", "--name", "two", "--now").returncode == 0
    homes.check_nothing_left()


def test_a_start_that_asks_for_other_settings_is_refused(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(NANO.parent)
    first = ["--model", NANO.name, "--threads", "1", "--mode", "int8", "--no-simulate"]
    pid = facts("start", "--name", "work", *first)["pid"]
    told = call("start", "--name", "work", *first, "--mode", "int4", "--simulate", "--slots", "3")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == (
        "glmd: The daemon work runs already: with --mode int8 instead of int4, "
        "with --no-simulate instead of --simulate, without --slots 3.\n"
        "`glmd restart --name work` with the same options gives it these.\n"
    )
    for same in ([], first, ["--mode", "int8"], ["--model", str(NANO)]):
        again = facts("start", "--name", "work", *same)
        assert (again["pid"], again["already_running"]) == (pid, True)
    assert call("start", "--name", "work").stderr == (
        "`glmd restart --name work` gives it other settings.\n"
    )


def wear_out(name: str) -> None:
    """Kill its engine until the daemon gives it up."""
    killed = {None}
    while (status := facts("status", "--name", name))["state"] != "failed":
        pid = status["replicas"][0]["pid"]
        if pid not in killed and status["state"] == "ready":
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def test_a_daemon_whose_engine_died_too_often_has_failed(homes: Homes) -> None:
    facts("start", "--name", "work", "--threads", "1")
    wear_out("work")
    told = call("start", "--name", "work")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == (
        "glmd: The daemon work has failed: Engine 0 was killed by SIGKILL, once too often.\n"
        "`glmd logs --name work` shows what it said; `glmd restart --name work` tries again.\n"
    )
    doctor = call("doctor", "--name", "work")
    assert doctor.returncode == 1
    assert re.search(r"fail +daemon +pid \d+ has failed: Engine 0 was killed", doctor.stdout)
    assert "`glmd restart --name work`" in doctor.stdout
    logged = call("logs", "--name", "work").stdout
    assert re.search("ERROR .*Engine 0 is given up: .* once too often", logged)
    facts("restart", "--name", "work")
    assert call("doctor", "--name", "work").returncode == 0


def test_a_start_that_fails_says_why(homes: Homes, tmp_path: Path) -> None:
    for words, complaint in (
        (["--model", str(tmp_path / "none")], "is not there"),
        (["--model", str(tmp_path)], str(tmp_path)),
        (["--devid", "0"], "--devid"),
        (["--listen", "somewhere"], "somewhere"),
    ):
        told = call("start", *words)
        assert (told.returncode, told.stdout) == (1, ""), told
        assert complaint in told.stderr
        assert "Traceback" not in told.stderr
    homes.check_nothing_left()


LOADING = """
from glmd.frontends.cli.load_bar import LoadBar
with LoadBar() as bar:
    bar.show(0, 0)
    bar.show(1 << 20, 4 << 20)
    bar.show(3 << 20, 4 << 20)
print("over")
"""


def test_the_load_is_shown_on_a_terminal() -> None:
    with Terminal("-c", LOADING, program=PYTHON) as terminal:
        assert "0/0" not in terminal.expect("loading the model")
        terminal.expect("3.0/4.0 MiB")
        terminal.expect(r"\x1b\[2Kover")  # where the bar was
        assert terminal.end() == 0
    done = subprocess.run([*PYTHON, "-c", LOADING], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("over\n", "")


def test_in_the_foreground(homes: Homes) -> None:
    with beside("start", "--foreground", "--threads", "1") as process:
        found = None
        while found is None or found.state != "ready":
            assert process.poll() is None
            found = control.running("default")
            time.sleep(0.02)
        assert found.pid == process.pid
        assert run("start", "--foreground").returncode == 1
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)
        assert process.returncode == 0
    homes.check_nothing_left()


def test_the_log(homes: Homes) -> None:
    assert call("logs").returncode == 1
    log = paths.log_file("default")
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert call("logs", "-n", "2").stdout == "line 98\nline 99\n"
    assert len(call("logs").stdout.splitlines()) == 50


def test_the_log_is_followed_behind_a_rotation(homes: Homes) -> None:
    log = paths.log_file("default")
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    with Terminal("logs", "-f", "-n", "1") as terminal:
        terminal.expect("first\r\n")
        with log.open("a") as file:
            file.write("second\n")
        terminal.expect("second\r\n")
        with log.open("a") as file:
            file.write("last of the old\n")
        log.rename(log.with_suffix(".log.1"))
        log.write_text("first of the new\n")
        terminal.expect("last of the old\r\n")
        terminal.expect("first of the new\r\n")
        terminal.type(CTRL_C)
        assert terminal.end() == 130
