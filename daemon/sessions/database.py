"""One SQLite file, used by one thread of its own, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import TypeVar

from glmd.errors import Code, DaemonError

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
LOCK_TIMEOUT = 2.0  # seconds to wait for another program that writes

T = TypeVar("T")


class Database:
    """Opened at the first use, and again after it was found broken: a repaired file, or space on
    the disk, is enough to go on.

    The file is readable by its owner alone. Every failure is a DaemonError with the code
    storage_failed and a sentence that names the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sessions")
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work` on the connection, all of it in one transaction, which is rolled
        back when `work` raises. Calls are served in order."""
        if self._closed:
            raise DaemonError("The daemon is stopping.", code=Code.STOPPING)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)

    async def close(self) -> None:
        """Wait for what was begun, then let go of the file for good."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            return _transact(self._connection, work)
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from error

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            _transact(connection, self._check_schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            schema = resources.files("glmd.daemon.sessions").joinpath("schema.sql")
            for statement in schema.read_text(encoding="utf-8").split(";\n\n"):
                connection.execute(statement)
        elif version > SCHEMA_VERSION:
            raise DaemonError(
                f"The session database {self.path} was written by a newer glmd (its schema is "
                f"{version}, this one knows {SCHEMA_VERSION}).",
                hint="Use the newer glmd, or another data folder (GLMD_DATA_DIR).",
                code=Code.STORAGE_FAILED,
            )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _explain(self, error: sqlite3.Error | OSError) -> DaemonError:
        log.error("session database %s: %s", self.path, error)
        says = str(error)
        if "locked" in says:
            reason, hint = "is locked by another program", "Close that program and try again."
        elif "disk is full" in says or "No space left" in says:
            reason, hint = "cannot be written: the disk is full", "Free some space and try again."
        elif "malformed" in says or "not a database" in says:
            self._disconnect()
            reason = "is damaged"
            hint = "Move it away, and a new one begins; chats without a session go on."
        else:
            self._disconnect()
            reason, hint = f"cannot be used: {says.rstrip('.')}", "Chats without a session go on."
        return DaemonError(
            f"The session database {self.path} {reason}.", hint=hint, code=Code.STORAGE_FAILED
        )


def _transact(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result
