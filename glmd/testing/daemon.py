"""A real daemon on the shipped model, in folders of its own, which leaves nothing behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import glmd
from glmd import control, paths
from glmd.errors import DaemonNotRunning
from glmd.facts import DaemonFacts
from glmd.settings import DaemonSettings

HOMES = {"GLMD_RUNTIME_DIR": "run", "GLMD_DATA_DIR": "data", "GLMD_CONFIG": "config"}


class Homes:
    """Runtime, data and configuration folders, and the daemons in them. The path is short: a UNIX
    socket's name holds 107 bytes, and pytest's own folders use most of them."""

    def __init__(self, setenv: Callable[[str, str], None]) -> None:
        """`setenv` sets a variable of the environment, for as long as the folders are there."""
        self.root = Path(tempfile.mkdtemp(prefix="glmd-", dir="/tmp"))
        self.runtime = self.root / "run"
        self._client: glmd.Client | None = None
        for variable, folder in HOMES.items():
            setenv(variable, str(self.root / folder))

    @property
    def plugins(self) -> Path:
        """Where a file is a plugin."""
        folder = paths.plugins_dir()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @property
    def client(self) -> glmd.Client:
        """A client of the daemon named default, which is started where it does not run."""
        if self._client is None:
            if control.running(paths.DEFAULT_NAME) is None:
                self.start()
            self._client = glmd.Client()
        return self._client

    def start(self, **settings: Any) -> DaemonFacts:
        """Start a daemon; `settings` as DaemonSettings names them. On the CPU one thread unless it
        is said otherwise: tests share a machine. Raises StartFailed."""
        on_chips = str(settings.get("model")).endswith(".bmodel")
        one = {} if on_chips else {"threads": 1}
        return control.start_daemon(DaemonSettings(**{**one, **settings})).facts

    def stop(self) -> None:
        """Stop all of them at once."""
        if self._client is not None:
            self._client.close()
            self._client = None
        for folder in self.runtime.iterdir() if self.runtime.exists() else ():
            try:
                control.stop_daemon(folder.name, drain=False)
            except DaemonNotRunning:
                # Killed by the test: a later daemon of this name would tidy up after it.
                paths.socket_file(folder.name).unlink(missing_ok=True)
                paths.facts_file(folder.name).unlink(missing_ok=True)

    def close(self) -> None:
        """Stop all and remove the folders."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.root)
