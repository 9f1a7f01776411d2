"""Real daemons in folders of their own, which leave nothing behind.

`daemon` is one on the shipped model, started for the test; `shared_daemon` one for all tests of a
module; `launch(**settings)` starts as many as a test likes, as DaemonSettings names them.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from typing import TypeAlias

import psutil
import pytest

from glmd import facts, lock
from glmd.facts import DaemonFacts
from glmd.testing import daemon as testing
from glmd.testing.daemon import HOMES

Launch: TypeAlias = Callable[..., DaemonFacts]


class Homes(testing.Homes):
    """Those of glmd.testing, and what has to be left when all is over: nothing."""

    def processes(self) -> list[psutil.Process]:
        """Everything that was started with these folders: daemons and engine children."""
        found = []
        for process in psutil.process_iter():
            try:
                homes = [v for k, v in process.environ().items() if k in HOMES]
                ours = any(home.startswith(f"{self.root}/") for home in homes)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def check_nothing_left(self) -> None:
        """P7: after a stop there is no process, no socket, and nobody has the lock."""
        assert self.processes() == []
        for folder in self.runtime.iterdir() if self.runtime.exists() else ():
            left = {file.name for file in folder.iterdir()} - {"lock"}
            found = facts.read(folder.name)
            if found is not None and found.state == "failed":
                left.remove("daemon.json")  # why the last start failed, for others who waited
            assert left == set()
            taken = lock.Lock.take(folder.name)
            assert taken is not None, f"the lock of {folder.name} is held"
            taken.release()

    def close(self) -> None:
        try:
            self.stop()
            self.check_nothing_left()
        finally:
            for process in self.processes():
                process.send_signal(signal.SIGKILL)
            shutil.rmtree(self.root)


def _homes() -> Iterator[Homes]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        homes = Homes(monkeypatch.setenv)
        try:
            yield homes
        finally:
            homes.close()


@pytest.fixture
def homes() -> Iterator[Homes]:
    """Folders without a daemon; what is started in them is stopped, and leaves nothing."""
    yield from _homes()


@pytest.fixture
def launch(homes: Homes) -> Launch:
    return homes.start


@pytest.fixture
def daemon(homes: Homes) -> DaemonFacts:
    return homes.start()


@pytest.fixture(scope="module")
def shared_daemon() -> Iterator[DaemonFacts]:
    for homes in _homes():
        yield homes.start()
