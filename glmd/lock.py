"""The lock that makes a daemon the only one of its name.

It is an flock(2) held by an open file, so it outlives an exec, is passed on to a child with the
descriptor, and is gone with the last process that has it. `start_daemon` takes it before it
spawns, and the daemon keeps what it inherited: there is no moment at which two could start.
"""

from __future__ import annotations

import fcntl
import os
from typing import Any

import msgspec

from glmd import paths, process


class Holder(msgspec.Struct, frozen=True):
    """Who has the lock; `started` as in DaemonFacts."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return process.start_ticks(self.pid) == self.started


class Lock:
    """The lock of daemon `name`, held until `release` or the end of the process."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def take(cls, name: str) -> Lock | None:
        """None when someone else has it. The runtime folder must exist."""
        fd = os.open(paths.lock_file(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        return cls(fd)

    @classmethod
    def inherited(cls, fd: int) -> Lock:
        """The lock as a child got it; its own children will not."""
        os.set_inheritable(fd, False)
        return cls(fd)

    def sign(self) -> None:
        """Write into the file who holds the lock: this process."""
        pid = os.getpid()
        holder = Holder(pid, process.start_ticks(pid) or 0)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, msgspec.json.encode(holder), 0)

    def release(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


def holder(name: str) -> Holder | None:
    """The process that signed the lock, if it lives."""
    try:
        found = msgspec.json.decode(paths.lock_file(name).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.alive else None
