"""Sessions as rows: what is done to them inside one transaction."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Sequence

import msgspec

from glmd.chat import Message, ToolCall
from glmd.errors import NotFound
from glmd.wire.replies import FinishReason, SessionInfo, StoredMessage

ROOT = "root"  # the parent of a session's first messages
TITLE_LENGTH = 60

_INFO = """
    SELECT id, title, created, updated,
           (SELECT count(*) FROM message WHERE message.session = session.id) AS messages
    FROM session
"""

_PATH = """
    WITH RECURSIVE path (seq, parent) AS (
        SELECT seq, parent FROM message WHERE id = ?
        UNION ALL
        SELECT message.seq, message.parent FROM message JOIN path ON message.id = path.parent
    )
    SELECT message.* FROM message JOIN path USING (seq) ORDER BY seq
"""


def create(db: sqlite3.Connection, owner: str, title: str) -> SessionInfo:
    session, now = new_id(), time.time()
    db.execute("INSERT INTO session VALUES (?, ?, ?, ?, ?)", (session, owner, title, now, now))
    return SessionInfo(session, title, now, now, 0)


def info(db: sqlite3.Connection, owner: str, session: str) -> SessionInfo:
    """Raises NotFound, also for a session of somebody else."""
    row = db.execute(f"{_INFO} WHERE id = ? AND owner = ?", (session, owner)).fetchone()
    if row is None:
        raise NotFound(
            f"There is no session {session}.", hint="`glmd sessions list` shows those there are."
        )
    return SessionInfo(*row)


def page(db: sqlite3.Connection, owner: str, limit: int, before: str | None) -> list[SessionInfo]:
    """The sessions used last, newest first; with `before`, those that follow it in this order."""
    where = "owner = ?"
    values: list[str | float] = [owner]
    if before is not None:
        last = info(db, owner, before)
        where += " AND (updated, id) < (?, ?)"
        values += [last.updated, last.session]
    rows = db.execute(
        f"{_INFO} WHERE {where} ORDER BY updated DESC, id DESC LIMIT ?", (*values, limit)
    )
    return [SessionInfo(*row) for row in rows]


def rename(db: sqlite3.Connection, owner: str, session: str, title: str) -> None:
    info(db, owner, session)
    db.execute("UPDATE session SET title = ? WHERE id = ?", (title, session))


def delete(db: sqlite3.Connection, owner: str, session: str) -> None:
    info(db, owner, session)
    db.execute("DELETE FROM session WHERE id = ?", (session,))


def messages(db: sqlite3.Connection, session: str) -> list[StoredMessage]:
    rows = db.execute("SELECT * FROM message WHERE session = ? ORDER BY seq", (session,))
    return [_stored(row) for row in rows]


def newest(db: sqlite3.Connection, session: str) -> str | None:
    """The message that came last: nothing can be below it, so it is a leaf."""
    row = db.execute(
        "SELECT id FROM message WHERE session = ? ORDER BY seq DESC LIMIT 1", (session,)
    ).fetchone()
    return None if row is None else str(row["id"])


def path(db: sqlite3.Connection, session: str, leaf: str) -> list[StoredMessage]:
    """From the root to `leaf`. Raises NotFound when the session has no such message."""
    rows = db.execute(_PATH, (leaf,)).fetchall()
    if not rows or rows[-1]["session"] != session:
        raise NotFound(f"Session {session} has no message {leaf}.")
    return [_stored(row) for row in rows]


def append(
    db: sqlite3.Connection,
    session: str,
    parent: str | None,
    turns: Iterable[tuple[Message, FinishReason | None]],
    *,
    siblings: bool = False,
) -> list[str]:
    """Keep messages, each below the one before, or all below `parent` with `siblings`; returns
    their ids. Raises NotFound when the session is gone."""
    now = time.time()
    ids: list[str] = []
    if db.execute("UPDATE session SET updated = ? WHERE id = ?", (now, session)).rowcount == 0:
        raise NotFound(f"Session {session} was deleted.")
    for message, finish_reason in turns:
        call = message.tool_call
        ids.append(new_id())
        db.execute(
            "INSERT INTO message (id, session, parent, role, metadata, content, tool_call,"
            " finish_reason, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                ids[-1],
                session,
                parent,
                message.role,
                message.metadata,
                message.content,
                None if call is None else msgspec.json.encode(call).decode("utf-8"),
                finish_reason,
                now,
            ),
        )
        if not siblings:
            parent = ids[-1]
    return ids


def withdraw(db: sqlite3.Connection, message: str) -> None:
    """Forget a message and all below it."""
    db.execute("DELETE FROM message WHERE id = ?", (message,))


def name_after(db: sqlite3.Connection, session: str, turns: Sequence[Message]) -> None:
    """Give a session without a title the first words of its first question."""
    question = next((turn.content for turn in turns if turn.role == "user"), "")
    words = " ".join(question.split())
    title = words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1].rstrip() + "…"
    db.execute("UPDATE session SET title = ? WHERE id = ? AND title = ''", (title, session))


def new_id() -> str:
    return secrets.token_hex(8)


def _stored(row: sqlite3.Row) -> StoredMessage:
    call = row["tool_call"]
    content = Message(
        row["role"],
        row["content"],
        row["metadata"],
        None if call is None else msgspec.json.decode(call, type=ToolCall),
    )
    return StoredMessage(
        message=row["id"],
        parent=row["parent"],
        created=row["created"],
        content=content,
        finish_reason=row["finish_reason"],
    )
