"""The sessions of every principal, and the turns that run in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from glmd.chat import Message
from glmd.daemon.sessions import tree
from glmd.daemon.sessions.database import Database
from glmd.errors import SessionConflict
from glmd.wire.replies import FinishReason, SessionInfo, StoredMessage

Place = tuple[str, str | None]  # a session, and a message in it or its root


class SessionStore:
    """Every call raises NotFound for what the principal has not got, and DaemonError with the code
    storage_failed when the database fails; the store can be used again after either."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._taken: set[Place] = set()

    async def create(self, principal: str, title: str = "") -> SessionInfo:
        return await self._database.run(lambda db: tree.create(db, principal, title))

    async def recent(
        self, principal: str, limit: int = 100, before: str | None = None
    ) -> list[SessionInfo]:
        """The sessions used last, newest first; `before`: the last session of the page before."""
        return await self._database.run(lambda db: tree.page(db, principal, limit, before))

    async def get(
        self, principal: str, session: str
    ) -> tuple[SessionInfo, list[StoredMessage], str | None]:
        """(info, every message with parents before children, the newest leaf)."""

        def read(
            db: sqlite3.Connection,
        ) -> tuple[SessionInfo, list[StoredMessage], str | None]:
            info = tree.info(db, principal, session)
            return info, tree.messages(db, session), tree.newest(db, session)

        return await self._database.run(read)

    async def rename(self, principal: str, session: str, title: str) -> None:
        await self._database.run(lambda db: tree.rename(db, principal, session, title))

    async def delete(self, principal: str, session: str) -> None:
        """A turn that runs in it goes on; its answer is then not kept."""
        await self._database.run(lambda db: tree.delete(db, principal, session))

    async def path(self, principal: str, session: str, leaf: str) -> list[StoredMessage]:
        """The conversation that ends with message `leaf`, from its root."""

        def read(db: sqlite3.Connection) -> list[StoredMessage]:
            tree.info(db, principal, session)
            return tree.path(db, session, leaf)

        return await self._database.run(read)

    async def begin(
        self, principal: str, session: str, parent: str | None, *, again: bool = False
    ) -> Turn:
        """Take the place behind message `parent` for a turn, until the turn is released.

        `parent`: None for the newest leaf, "root" for before the first message. `again`: the turn
        asks for another answer and brings no messages; the newest leaf is then the newest message
        that is not an answer. Raises SessionConflict when a turn runs there.
        """

        def read(db: sqlite3.Connection) -> list[StoredMessage]:
            tree.info(db, principal, session)
            tip = tree.newest(db, session) if parent is None else parent
            if tip is None or tip == tree.ROOT:
                return []
            path = tree.path(db, session, tip)
            while again and parent is None and path and path[-1].content.role == "assistant":
                path.pop()
            return path

        path = await self._database.run(read)
        place = (session, path[-1].message if path else None)
        if place in self._taken:
            raise SessionConflict(
                f"Another turn runs on this branch of session {session}.",
                hint="Wait for its answer, cancel it, or branch from an earlier message.",
            )
        return Turn(self._database, self._taken, place, [kept.content for kept in path])

    async def close(self) -> None:
        """Wait for what is being written, then close the database."""
        await self._database.close()


class Turn:
    """A turn in a session: messages are asked, one or more answers come.

    `history`: the conversation before it. While it runs nobody else can add to the message it
    stands behind, nor to the one it answers.
    """

    def __init__(
        self, database: Database, taken: set[Place], place: Place, history: Sequence[Message]
    ) -> None:
        self.session, self._behind = place
        self.history = history
        self._database = database
        self._taken = taken
        self._places = [place]
        self._asked: list[str] = []
        taken.add(place)

    async def ask(self, messages: Sequence[Message]) -> str | None:
        """Keep the messages of the turn; the id of the one to be answered."""

        def write(db: sqlite3.Connection) -> list[str]:
            tree.name_after(db, self.session, messages)
            turns = [(message, None) for message in messages]
            return tree.append(db, self.session, self._behind, turns)

        if messages:
            self._asked = await self._database.run(write)
            self._places.append((self.session, self._asked[-1]))
            self._taken.add(self._places[-1])
        return self._answered

    async def withdraw(self) -> None:
        """Forget the messages of the turn: it was not accepted after all."""
        if self._asked:
            first = self._asked[0]
            await self._database.run(lambda db: tree.withdraw(db, first))

    async def answer(self, answers: Sequence[tuple[Message, FinishReason]]) -> list[str]:
        """Keep the answers to the turn, each beside the others; their ids, in order. The first
        becomes the newest leaf, where the session goes on."""

        def write(db: sqlite3.Connection) -> list[str]:
            return tree.append(db, self.session, self._answered, reversed(answers), siblings=True)

        return (await self._database.run(write))[::-1]

    def release(self) -> None:
        """The turn is over. May be called again."""
        self._taken.difference_update(self._places)

    @property
    def _answered(self) -> str | None:
        return self._asked[-1] if self._asked else self._behind
