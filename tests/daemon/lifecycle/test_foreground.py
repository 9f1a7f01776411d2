"""`glmd start --foreground`: the process that was started is the daemon, as supervisors want it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemons import Homes

from glmd import control
from glmd.errors import StartFailed
from glmd.facts import DaemonFacts
from glmd.settings import DaemonSettings

SCRIPT = (
    "from glmd import control; from glmd.settings import DaemonSettings;"
    "control.run_foreground(DaemonSettings(threads=1, {}))"
)


class Foreground:
    """A daemon that this test is the parent of."""

    def __init__(self, settings: str = "", **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", SCRIPT.format(settings)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def serving(self) -> DaemonFacts:
        while (facts := control.running("default")) is None or facts.state != "ready":
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        return facts

    def end(self) -> tuple[int, str]:
        """Exit code, and what it printed."""
        printed = self.process.communicate(timeout=50)[1]
        return self.process.returncode, printed


@pytest.fixture
def foreground(homes: Homes) -> Iterator[Foreground]:
    daemon = Foreground()
    yield daemon
    daemon.process.terminate()  # the children of one that is killed end a moment after it
    daemon.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it(homes: Homes, foreground: Foreground, number: signal.Signals) -> None:
    facts = foreground.serving()
    assert facts.pid == foreground.process.pid
    foreground.process.send_signal(number)
    code, printed = foreground.end()
    assert code == 0
    assert f"{number.name} received" in printed
    assert "Stopped." in printed
    homes.check_nothing_left()


def test_a_second_one_is_refused(homes: Homes, foreground: Foreground) -> None:
    facts = foreground.serving()
    with pytest.raises(StartFailed, match=rf"already running \(pid {facts.pid}\)"):
        control.run_foreground(DaemonSettings())
    assert control.start_daemon(DaemonSettings()).already


def test_it_can_be_stopped_from_outside(homes: Homes, foreground: Foreground) -> None:
    foreground.serving()
    control.stop_daemon("default")
    assert foreground.end()[0] == 0


def test_what_is_wrong_is_printed(homes: Homes) -> None:
    code, printed = Foreground('model="/nowhere/model"').end()
    assert code == 1
    assert "/nowhere/model" in printed
    assert "Traceback" not in printed
    homes.check_nothing_left()


class Systemd:
    """The receiving end of sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30)
        self.path = path

    def until(self, message: str) -> list[str]:
        """Everything up to a message."""
        told: list[str] = []
        while message not in told:
            told += self._socket.recv(4096).decode().splitlines()
        return told

    def silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(homes: Homes) -> Iterator[Systemd]:
    listener = Systemd(homes.root / "notify")
    yield listener
    listener.close()


def test_systemd_hears_when_it_serves_and_when_it_stops(homes: Homes, systemd: Systemd) -> None:
    daemon = Foreground(NOTIFY_SOCKET=str(systemd.path))
    told = systemd.until("READY=1")
    assert "STATUS=loading" in told
    facts = control.running("default")
    assert facts is not None
    assert facts.state == "ready"
    assert f"MAINPID={facts.pid}" in told
    daemon.process.terminate()
    systemd.until("STOPPING=1")
    assert daemon.end()[0] == 0


def test_systemds_watchdog_is_fed_only_while_the_loop_turns(homes: Homes, systemd: Systemd) -> None:
    daemon = Foreground(NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC="400000")
    systemd.until("READY=1")
    for _ in range(3):
        systemd.until("WATCHDOG=1")
    daemon.process.send_signal(signal.SIGSTOP)
    while not systemd.silent(1.0):
        pass
    daemon.process.send_signal(signal.SIGCONT)
    daemon.process.terminate()
    assert daemon.end()[0] == 0
