"""The model is loaded again when its files are replaced: `glmd reload` without typing it.

A change counts when nobody has written for a second and the files are a whole model. Files that are
not, for ten seconds, are tried nevertheless: then `glmd status` says what is wrong with them. What
serves goes on until the new model does. `glmd plugins disable hot_reload` switches this off.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

import glmd
from glmd.checkpoint.identity import identity
from glmd.checkpoint.source import open_model
from glmd.errors import GlmdError
from glmd.hookspecs import DaemonHandle

QUIET = 1.0  # seconds without a change after which files count as complete
PATIENCE = 10.0  # the same where they are no whole model

# Writing ends with a close, and reading with another event; symbolic links are only created.
EVENTS = [FileClosedEvent, FileMovedEvent, DirMovedEvent, FileDeletedEvent, FileCreatedEvent]

RUNNING = {"checking", "draining", "loading", "restoring"}


class HotReload(FileSystemEventHandler):
    """Watches the model that serves. `changed` is set when its files may be others than those."""

    def __init__(self, daemon: DaemonHandle) -> None:
        self._daemon = daemon
        self._changed = threading.Event()
        self._ending = False
        self._served: dict[str, Any] = {}
        self._refused = ""  # files that the daemon could not load
        self._watched: dict[Path, ObservedWatch] = {}
        self._observer = Observer()
        self._observer.start()
        self._thread = threading.Thread(target=self._run, name="hot reload", daemon=True)
        self._thread.start()
        daemon.subscribe("model", self._told)

    def close(self) -> None:
        self._ending = True
        self._changed.set()
        self._observer.stop()

    def dispatch(self, event: FileSystemEvent) -> None:
        """From the observer's thread."""
        if isinstance(event, FileCreatedEvent) and not Path(str(event.src_path)).is_symlink():
            return
        model = Path(self._served["path"])
        for touched in (event.src_path, event.dest_path):
            path = Path(str(touched)) if touched else None
            if path is not None and (
                path in {model, model.resolve()} or path.parent in self._insides(model)
            ):
                self._changed.set()

    def _insides(self, model: Path) -> set[Path]:
        """Folders all of whose files count."""
        return {model, model.resolve()} if model.is_dir() else set()

    def _told(self, facts: dict[str, Any]) -> None:
        self._served = facts
        self._watch(Path(facts["path"]))
        self._changed.set()  # while it was loaded others may have taken its place

    def _watch(self, model: Path) -> None:
        """Its folder, where that lies, and both where links to them lead."""
        wanted = {model.parent, model.resolve().parent, *self._insides(model)}
        for gone in set(self._watched) - wanted:
            self._observer.unschedule(self._watched.pop(gone))
        for folder in sorted(wanted - set(self._watched)):
            try:
                self._watched[folder] = self._observer.schedule(
                    self, str(folder), event_filter=EVENTS
                )
            except OSError as error:
                print(f"{folder} is not watched: {error.strerror}.")

    # -- a thread of its own ---------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending:
            self._changed.wait()
            if not self._ending and self._settled(QUIET) and self._is_another():
                self._reload()

    def _settled(self, seconds: float) -> bool:
        """Wait until nothing has changed for so long; False when this ends."""
        while self._changed.is_set() and not self._ending:
            self._changed.clear()
            self._changed.wait(seconds)
        return not self._ending

    def _is_another(self) -> bool:
        if self._found() in {"", self._served["identity"], self._refused}:
            return False
        if (self._served.get("reload") or {}).get("state") in RUNNING:
            return False  # its end will be told
        try:
            open_model(Path(self._served["path"]))
        except GlmdError:
            # Not complete, or broken. Whatever comes within that time is looked at anew.
            return not self._changed.wait(PATIENCE) and not self._ending
        return True

    def _found(self) -> str:
        """The identity of what lies there, "" where nothing does."""
        try:
            return identity(Path(self._served["path"]))
        except GlmdError:
            return ""

    def _reload(self) -> None:
        found = self._found()
        if not found:
            return
        try:
            self._daemon.reload()
        except GlmdError as error:
            self._refused = found
            print(f"What has replaced {self._served['path']} is not served: {error}")


_running: list[HotReload] = []


@glmd.hookimpl
def glmd_daemon_started(daemon: DaemonHandle) -> None:
    _running.append(HotReload(daemon))


@glmd.hookimpl
def glmd_daemon_stopping() -> None:
    while _running:
        _running.pop().close()
