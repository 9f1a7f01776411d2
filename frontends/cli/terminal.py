"""What goes to the terminal: facts and text to stdout, everything else to stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import click
import msgspec

# A model may write escape sequences, and a terminal would obey them. Tab and newline stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Text that was not written here, made safe for a terminal; unchanged for a pipe."""
    return _CONTROL.sub("", text) if sys.stdout.isatty() else text


def print_json(value: object) -> None:
    """Facts for programs: structs and plain values, two spaces deep."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def note(text: str) -> None:
    """An aside on stderr, dim where a terminal can show that."""
    click.echo(dim(text), err=True)


def dim(text: str) -> str:
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[2m{text}\x1b[0m"


class StatusLine:
    """One line on stderr that is written over, and gone at the end. Nothing without a terminal."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False

    def show(self, text: str) -> None:
        if self._tty:
            sys.stderr.write(f"\r\x1b[K{dim(text)}")
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their cells: titles may be Chinese, whose characters take two places."""
    from rich.cells import cell_len

    lines = [header, *rows]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (
            printable(cell) + " " * (width - cell_len(cell))
            for cell, width in zip(line, widths, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def file_size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """The two largest units of a time."""
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // below:.0f} {small}"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.0f} s"
