"""A running daemon's engine children, as seen and hurt from outside."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psutil

from glmd.wire.replies import StatusReply

PATIENCE = 30.0  # seconds, for a machine that is busy with other things
T = TypeVar("T")


def until(look: Callable[[], T], accept: Callable[[T], bool]) -> T:
    """Look again and again until it is as it should be; what was seen then."""
    deadline = time.monotonic() + PATIENCE
    while not accept(seen := look()):
        assert time.monotonic() < deadline, f"still {seen}"
        time.sleep(0.005)
    return seen


def engines(core: psutil.Process) -> int:
    """How many engine children there are."""
    found = 0
    for child in core.children():
        with suppress(psutil.NoSuchProcess):  # what looks plugins over may end just now
            found += "glmd.daemon.engine" in child.cmdline()
    return found


def engine_pid(status: Callable[[], StatusReply], replica: int = 0) -> int:
    """The pid of a replica's child once that is ready."""
    seen = until(status, lambda told: told.replicas[replica].state == "ready")
    pid = seen.replicas[replica].pid
    assert pid is not None
    return pid


def kill_engine(status: Callable[[], StatusReply], replica: int = 0) -> int:
    """kill -9 the child of a replica that is ready; the pid it had."""
    pid = engine_pid(status, replica)
    os.kill(pid, signal.SIGKILL)
    return pid


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does nothing for the while. It may be killed before or meanwhile."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
