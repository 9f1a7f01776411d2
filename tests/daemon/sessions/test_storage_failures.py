"""A database that fails is said in a sentence, and used again as soon as it works."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from glmd.chat import Message
from glmd.daemon.sessions import database
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import Code, DaemonError


def move_away(path: Path) -> None:
    """The database with the files that SQLite keeps beside it."""
    for part in list(path.parent.glob(f"{path.name}*")):
        part.unlink()


async def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.write_bytes(b"This is no database. " * 200)
    store = SessionStore(path)
    for _ in range(2):
        with pytest.raises(DaemonError, match=r"sessions\.db is damaged") as error:
            await store.create("me")
        assert error.value.code == Code.STORAGE_FAILED
        assert "Move it away" in error.value.hint
    path.unlink()
    await store.create("me")
    await store.close()


async def test_a_file_damaged_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SessionStore(path)
    session = (await store.create("me")).session
    turn = await store.begin("me", session, None)
    await turn.ask([Message("user", "x" * 100_000)])
    await store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    store = SessionStore(path)
    with pytest.raises(DaemonError, match=r"sessions\.db is damaged"):
        await store.get("me", session)
    move_away(path)
    assert await store.recent("me") == []
    await store.close()


async def test_a_locked_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.05)
    path = tmp_path / "sessions.db"
    store = SessionStore(path)
    await store.create("me")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DaemonError, match="is locked by another program") as error:
            await store.create("me")
        assert error.value.code == Code.STORAGE_FAILED
        other.execute("ROLLBACK")
    await store.create("me")
    assert len(await store.recent("me")) == 2
    await store.close()


async def test_a_full_disk(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "sessions.db")
    session = (await store.create("me")).session

    def pages(db: sqlite3.Connection, n: int) -> None:
        db.execute(f"PRAGMA max_page_count = {n}")

    # SQLite then gives the very error of a disk without space.
    await store._database.run(lambda db: pages(db, 1))
    turn = await store.begin("me", session, None)
    with pytest.raises(DaemonError, match="cannot be written: the disk is full") as error:
        await turn.ask([Message("user", "x" * 100_000)])
    assert error.value.code == Code.STORAGE_FAILED
    assert (await store.get("me", session))[1] == []
    await store._database.run(lambda db: pages(db, 1_000_000))
    assert await turn.ask([Message("user", "x" * 100_000)])
    await store.close()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    store = SessionStore(tmp_path / "data" / "sessions.db")
    with pytest.raises(DaemonError, match="cannot be used: ") as error:
        await store.create("me")
    assert error.value.code == Code.STORAGE_FAILED
    (tmp_path / "data").unlink()
    await store.create("me")
    await store.close()


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 7")
    store = SessionStore(path)
    with pytest.raises(DaemonError, match=r"newer glmd \(its schema is 7, this one knows 1\)"):
        await store.create("me")
    await store.close()


async def test_a_fault_undoes_the_whole_change(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "sessions.db")
    session = (await store.create("me")).session
    turn = await store.begin("me", session, None)
    bad = Message("user", "half a pair: \ud800")
    with pytest.raises(UnicodeEncodeError):
        await turn.ask([Message("user", "first"), bad])
    assert (await store.get("me", session))[1] == []
    await store.close()
