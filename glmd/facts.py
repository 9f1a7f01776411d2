"""What is known of a daemon from outside: a small JSON file that the daemon keeps up to date."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

from glmd import paths, process
from glmd.settings import DaemonSettings

State = Literal["loading", "ready", "stopping", "failed"]


class DaemonFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`started`: clock ticks since boot, which with `pid` names one process for ever. `endpoints`:
    the local one first. `devices`: ids of the chips that are its own. `said`: the settings it was
    given, as the last reload left them. `server_key`: public CURVE key of the tcp endpoint, in hex.
    `error` and `hint`: why it failed, with its `code` ("" where it is none of the wire's). One that
    failed at its start is ending; one with endpoints served until its engines died too often."""

    name: str
    pid: int
    started: int
    boot_id: str
    server: str
    protocol: tuple[int, int]
    state: State
    endpoints: list[str]
    model: str
    backend: str
    log: str
    devices: list[int] = []
    server_key: str = ""
    said: DaemonSettings | None = None
    code: str = ""
    error: str = ""
    hint: str = ""

    @property
    def alive(self) -> bool:
        return process.start_ticks(self.pid) == self.started


def read(name: str) -> DaemonFacts | None:
    """The file as the last daemon of this name left it, which may be dead; None without one, and
    for one that another user has put there."""
    try:
        with paths.facts_file(name).open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                return None
            return msgspec.json.decode(file.read(), type=DaemonFacts)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def write(facts: DaemonFacts) -> None:
    """Replace the file in one step, so that a reader sees the old facts or the new ones."""
    target = paths.facts_file(facts.name)
    fd, temporary = tempfile.mkstemp(dir=target.parent, prefix=".daemon-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(facts)))
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove(name: str) -> None:
    paths.facts_file(name).unlink(missing_ok=True)
