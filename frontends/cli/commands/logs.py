"""`glmd logs`."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import NoReturn, TextIO

import click

from glmd.frontends.cli.options import name_option

POLL = 0.2  # seconds


@click.command("logs")
@name_option
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is added; Ctrl-C ends it.")
@click.option("-n", "--lines", type=click.IntRange(0), default=50, show_default=True)
def command(name: str, follow: bool, lines: int) -> int:
    """Print the end of the daemon's log. Works also when it does not run."""
    from glmd import paths
    from glmd.errors import NotFound

    path = paths.log_file(name)
    if not path.is_file():
        raise NotFound(
            f"There is no log at {path}.", hint=f"The daemon {name} has not been started yet."
        )
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in deque(file, maxlen=lines):
            click.echo(line, nl=False)
        if follow:
            _follow(path, file)
    return 0


def _follow(path: Path, file: TextIO) -> NoReturn:
    """Print what is added, also behind a rotation: the name then belongs to another file."""
    while True:
        rotated = _differ(path, file)
        click.echo(file.read(), nl=False)
        if rotated:
            file.close()
            file = path.open(encoding="utf-8", errors="replace")
        else:
            time.sleep(POLL)


def _differ(path: Path, file: TextIO) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False  # between the renaming and the new file
