"""Noticing that a plugin's file was saved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

from watchdog.events import (
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.polling import PollingObserver

from glmd.discovery import is_plugin_file

DEBOUNCE = 0.3  # seconds of quiet before a change counts
LONGEST_WAIT = 2.0  # seconds after which it counts although there is no quiet

log = logging.getLogger(__name__)

# Writing opens, modifies and closes a file: only its end counts. Creation is for symbolic links,
# which nobody closes.
EVENTS = [FileClosedEvent, FileMovedEvent, DirMovedEvent, FileDeletedEvent, FileCreatedEvent]


def stamps(folders: Iterable[Path]) -> frozenset[tuple[str, int, int, int]]:
    """Path, inode, size and time of change of each plugin's file: other ones when one was saved."""
    found = set()
    for file in chain.from_iterable(folder.glob("*.py") for folder in folders):
        with suppress(OSError):  # a scan says what is wrong with it
            stat = file.stat()
            found.add((str(file), stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return frozenset(found)


class FolderWatch(FileSystemEventHandler):
    """Calls `on_change`, on the event loop, some time after files of plugins have changed in the
    watched folders."""

    def __init__(self, on_change: Callable[[], object]) -> None:
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._watched: dict[Path, ObservedWatch] = {}
        self._polling = False
        self._observer = self._started(Observer())
        self._timer: asyncio.TimerHandle | None = None
        self._first = 0.0  # when the changes began that are not yet told

    def watch(self, folders: Iterable[Path], files: Iterable[Path]) -> None:
        """Watch these from now on, and no others: the folders, where they really lie, and where
        files really lie, since a write to a link's target is none in the link's folder."""
        wanted: set[Path] = set()
        for folder in folders:
            wanted |= {folder, folder.resolve()}
            if folder.is_symlink():
                wanted.add(folder.parent)
        wanted |= {file.resolve().parent for file in files}
        wanted = {folder for folder in wanted if folder.is_dir()}
        for gone in set(self._watched) - wanted:
            self._observer.unschedule(self._watched.pop(gone))
        for folder in sorted(wanted - set(self._watched)):
            self._schedule(folder)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._observer.stop()
        self._observer.join()

    # -- the observer's thread -------------------------------------------------------------------

    def dispatch(self, event: FileSystemEvent) -> None:
        path = Path(str(event.dest_path or event.src_path))
        link = path.is_symlink()
        if isinstance(event, FileCreatedEvent) and not (link or self._polling):
            return
        if is_plugin_file(path) or is_plugin_file(Path(str(event.src_path))) or link:
            self._loop.call_soon_threadsafe(self._changed)

    # -- the event loop --------------------------------------------------------------------------

    def _changed(self) -> None:
        now = self._loop.time()
        if self._timer is None:
            self._first = now
        else:
            self._timer.cancel()
        at = min(now + DEBOUNCE, self._first + LONGEST_WAIT)
        self._timer = self._loop.call_at(at, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._on_change()

    def _schedule(self, folder: Path) -> None:
        try:
            self._watched[folder] = self._observer.schedule(
                self, str(folder), event_filter=self._events()
            )
        except OSError as error:
            if self._polling:
                log.warning("%s is not watched: %s.", folder, error.strerror)
                return
            # The system's limit on inotify watches, mostly.
            log.warning("Plugins are watched by polling: %s.", error.strerror)
            self._observer.stop()
            self._polling = True
            self._observer = self._started(PollingObserver())
            known, self._watched = list(self._watched), {}
            for place in (*known, folder):
                self._schedule(place)

    def _events(self) -> list[type[FileSystemEvent]]:
        return [*EVENTS, FileModifiedEvent] if self._polling else list(EVENTS)

    def _started(self, observer: BaseObserver) -> BaseObserver:
        observer.daemon = True
        observer.start()
        return observer
