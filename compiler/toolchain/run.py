"""Running a tool of the toolchain: in the folder of its net, with its words in a log."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from glmd.compiler.toolchain.toolchain import Toolchain
from glmd.errors import CompileFailed

LAST_LINES = 8

_POLL = 0.1  # seconds between two looks at `stop`


class Stopped(Exception):
    """The run was given up while a tool was at work."""


def run_tool(
    toolchain: Toolchain,
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    step: str,
    net: str,
    stop: threading.Event | None = None,
) -> None:
    """Run one tool to its end. Raises CompileFailed with the last lines of `log` where it fails,
    and Stopped once `stop` is set; the tool and its children are then killed."""
    with log.open("ab") as written:
        written.write(f"$ {' '.join(command)}\n".encode())
        written.flush()
        start = written.tell()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=toolchain.environment(),
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = _wait(process, stop)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    if code != 0:
        raise _failed(step, net, code, log, start)


def _wait(process: subprocess.Popen[bytes], stop: threading.Event | None) -> int:
    if stop is None:
        return process.wait()
    while (code := process.poll()) is None:
        if stop.wait(_POLL):
            raise Stopped
    return code


def _failed(step: str, net: str, code: int, log: Path, start: int) -> CompileFailed:
    with log.open("rb") as written:
        written.seek(start)
        lines = [line for line in written.read().decode(errors="replace").splitlines() if line]
    tail = "\n".join(f"    {line}" for line in lines[-LAST_LINES:])
    return CompileFailed(
        f"{net}: {step} failed ({_ending(code)}). The end of {log}:\n{tail}",
        hint=_advice(code, lines),
    )


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _advice(code: int, lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    if "No space left on device" in text:
        return "Make room on the disk and run the same command again: it goes on where it was."
    if code == -signal.SIGKILL or "MemoryError" in text or "bad_alloc" in text:
        return "Memory ran out: free some, or give a smaller --jobs, and run the command again."
    if "stack smashing" in text or "GLIBC" in text:
        return (
            "The C library that TPU-MLIR brings does not fit this system: "
            "`glmd toolchain install` installs one without it."
        )
    return "Run the same command again to try once more; `glmd toolchain status` looks for damage."
