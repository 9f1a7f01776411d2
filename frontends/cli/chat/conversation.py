"""A conversation as `glmd chat` holds it: a session in the daemon, and the settings of answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from glmd.frontends.cli.overflow import Overflow
from glmd.frontends.python_api import ChatResult, Client, Stream
from glmd.wire.replies import Progress, StoredMessage


class Opened(NamedTuple):
    """`turn`: the newest question and what came of it."""

    title: str
    turn: list[StoredMessage]


class Conversation:
    """`sampling`: keyword arguments of Client.stream. `system`: instructions a session begins with.
    `session`: None until something is said. `overflow`: for all its questions."""

    def __init__(
        self,
        client: Client,
        sampling: dict[str, Any],
        *,
        system: str | None,
        overflow: Overflow,
    ) -> None:
        self.client = client
        self.sampling = sampling
        self.system = system
        self.session: str | None = None
        self.overflow = overflow
        self._leaf: str | None = None  # where the conversation goes on
        self._asked: str | None = None  # what was last said
        self._question: str | None = None  # the message that holds it

    def new(self) -> None:
        """Begin another conversation; the session of this one stays in the daemon."""
        self.session = self._leaf = self._asked = self._question = None

    def open(self, session: str) -> Opened:
        """Go on in a session. Raises NotFound."""
        found = self.client.sessions.get(session)
        self.new()
        self.session, self._leaf = session, found.leaf
        tree = {stored.message: stored for stored in found.tree}
        turn: list[StoredMessage] = []
        at = tree.get(found.leaf or "")
        while at is not None and self._question is None:
            turn.insert(0, at)
            if at.content.role == "user":
                self._question = at.message
            at = tree.get(at.parent or "")
        return Opened(found.info.title, turn)

    def say(self, text: str, on_progress: Callable[[Progress], None]) -> Stream[ChatResult]:
        """Ask; the stream is to be handed to `kept`, and the answer to `heard`."""
        self._asked, self._question = text, None
        if self.session is None:
            self.session = self.client.sessions.new().session
        turns = [{"role": "user", "content": text}]
        if self.system and self._leaf is None:
            turns.insert(0, {"role": "system", "content": self.system})
        return self._stream(turns, self._leaf, on_progress)

    def retry(self, on_progress: Callable[[Progress], None]) -> Stream[ChatResult] | None:
        """Another answer to the last question, also where the first one failed or the daemon never
        heard it; None where there is no question."""
        if self._question is not None:
            return self._stream([], self._question, on_progress)
        return None if self._asked is None else self.say(self._asked, on_progress)

    def kept(self, stream: Stream[ChatResult]) -> None:
        """Remember where the daemon keeps the question, whatever became of the answer."""
        if stream.accepted is not None and stream.accepted.message is not None:
            self._question = stream.accepted.message

    def heard(self, result: ChatResult) -> None:
        """Go on from this answer."""
        self._leaf = result.choices[0].message_id or result.user_message_id

    def _stream(
        self,
        turns: list[dict[str, str]],
        parent: str | None,
        on_progress: Callable[[Progress], None],
    ) -> Stream[ChatResult]:
        return self.client.stream(
            turns,
            session=self.session,
            parent=parent,
            overflow=self.overflow,
            on_progress=on_progress,
            **self.sampling,
        )
