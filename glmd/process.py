"""Telling one process from a later one with the same pid."""

from __future__ import annotations

from pathlib import Path


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
