"""How far the load of a model is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class LoadBar:
    """A bar on stderr, gone at the end; nothing without a terminal. `text`: what is going on."""

    def __init__(self, text: str = "loading the model") -> None:
        self._text = text
        self._bar: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> LoadBar:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar[0].stop()

    def show(self, done: int, total: int) -> None:
        """Bytes; a total of 0 is not known yet."""
        if not total or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = _new_bar(self._text, total)
        progress, task = self._bar
        progress.update(task, completed=done, total=total)


def _new_bar(text: str, total: int) -> tuple[Progress, TaskID]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    progress = Progress(
        text,
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    progress.start()
    return progress, progress.add_task("", total=total)
