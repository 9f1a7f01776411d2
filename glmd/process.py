"""Processes: telling one from a later one with the same pid, and ending with one's parent."""

from __future__ import annotations

import ctypes
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie_to_parent() -> None:
    """This process lives as long as its parent: the kernel sees to it even when Python is stuck.
    Signals to a whole group of processes (a service being stopped) are for the parent to act on."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def start_ticks(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None when it is gone or a zombie.

    Fields 3 and 22 of /proc/PID/stat, see proc_pid_stat(5). The name in field 2 may hold spaces and
    brackets, so fields are counted from the last bracket.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
