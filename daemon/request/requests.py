"""What the server calls: everything between a client's words and the pool's ids."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from glmd.daemon.chat.conversation import check_conversation
from glmd.daemon.chat.prompt import join, render
from glmd.daemon.models.entrance import Entrance
from glmd.daemon.request.outlet import Outlet
from glmd.daemon.request.running import Running, Samplers, no_samplers
from glmd.daemon.sessions.store import SessionStore
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import InvalidRequest
from glmd.wire.requests import Chat, Complete, Tokenize


class Requests:
    """Lives on the event loop, and leaves long work to threads."""

    def __init__(
        self,
        entrance: Entrance,
        sessions: SessionStore,
        samplers: Samplers = no_samplers,
    ) -> None:
        """`samplers`: see Samplers."""
        self._entrance = entrance
        self._samplers = samplers
        self._sessions = sessions

    def start(self, request: Chat | Complete, principal: str, outlet: Outlet) -> Running:
        """Begin to answer. Whatever is wrong is told to the outlet, never raised."""
        return Running(self._entrance, self._sessions, self._samplers, request, principal, outlet)

    async def tokenize(self, request: Tokenize) -> tuple[list[int], list[str]]:
        """(ids, pieces) of a text as it is, or of the prompt that messages and tools make. Raises
        InvalidRequest."""
        return await asyncio.to_thread(_ids, self._entrance.present.tokenizer, request)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`; special ids stand for none."""
        return await asyncio.to_thread(self._entrance.present.tokenizer.decode, tokens)


def _ids(tokenizer: Tokenizer, request: Tokenize) -> tuple[list[int], list[str]]:
    if (request.text is None) == (request.messages is None):
        raise InvalidRequest("Give either text or messages to tokenize.")
    if request.text is not None:
        ids = tokenizer.encode(request.text)
    else:
        messages = request.messages or []
        check_conversation(messages, request.tools)
        ids = join(tokenizer, render(tokenizer, messages, request.tools))
    return ids, tokenizer.pieces(ids)
