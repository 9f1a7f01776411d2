"""What only one of the processes that run tests may do at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from support.checkpoints import ROOT


@contextmanager
def alone(work: str) -> Iterator[None]:
    """Waits until no other process is in `alone` for the same `work`."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with (build / f".{work}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
