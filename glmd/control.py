"""Start, find and stop daemons from outside. What `glmd start` and `glmd stop` do."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, NoReturn

from glmd import facts
from glmd.facts import DaemonFacts
from glmd.settings import DaemonSettings


class Start(NamedTuple):
    """`already`: the daemon was running, or another caller started it in the same moment."""

    facts: DaemonFacts
    already: bool


def running(name: str) -> DaemonFacts | None:
    """The daemon of this name, None where none runs. It may still be loading (`state`)."""
    found = facts.read(name)
    return found if found is not None and found.alive else None


def start_daemon(
    settings: DaemonSettings, on_progress: Callable[[int, int], None] | None = None
) -> Start:
    """Start a daemon in the background and wait until it serves.

    `on_progress(done, total)`: bytes of weights read. Raises ModelError when the model cannot be
    loaded, StartFailed for everything else that keeps a daemon from serving; nothing is left
    running then. An interrupt (Ctrl-C) while it waits stops the daemon again.
    """
    raise NotImplementedError


def run_foreground(settings: DaemonSettings) -> NoReturn:
    """Become the daemon: this process is replaced, so a supervisor sees one pid. Raises StartFailed
    when one runs already."""
    raise NotImplementedError


def stop_daemon(name: str, *, drain: bool = True) -> None:
    """End the daemon and everything it started; returns when nothing of it is left.

    With `drain` running requests may finish (at most 30 s), without it they end at once. Raises
    DaemonNotRunning.
    """
    raise NotImplementedError
