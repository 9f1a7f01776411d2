"""How far a compile is."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from glmd.frontends.cli.terminal import note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class CompileBar:
    """A bar on stderr with the nets that are being worked at and the time that is left; without a
    terminal a line for each net that is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: tuple[Progress, TaskID] | None = None
        self._steps: dict[str, str] = {}
        self._done = self._total = 0

    def __enter__(self) -> CompileBar:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar[0].stop()

    def begin(self, total: int, done: int) -> None:
        self._done, self._total = done, total
        if sys.stderr.isatty() and done < total:
            self._bar = _new_bar(total, done)

    def started(self, net: str, step: str) -> None:
        with self._lock:
            self._steps[net] = step
            self._show()

    def finished(self, net: str, work: int) -> None:
        with self._lock:
            self._steps.pop(net, None)
            self._done += work
            self._show()
            if self._bar is None:
                note(f"{net} ({self._done / self._total:.0%})")

    def _show(self) -> None:
        if self._bar is not None:
            progress, task = self._bar
            steps = ", ".join(f"{net} {step}" for net, step in self._steps.items())
            progress.update(task, completed=self._done, steps=steps)


def _new_bar(total: int, done: int) -> tuple[Progress, TaskID]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    progress = Progress(
        "compiling",
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[steps]}"),
        console=Console(stderr=True),
        transient=True,
        # A net may take minutes: the speed is that of the whole run and not of its last seconds.
        speed_estimate_period=24 * 3600,
    )
    progress.start()
    return progress, progress.add_task("", total=total, completed=done, steps="")
