"""Requests that are answered once, about text and about sessions."""

from __future__ import annotations

from glmd.daemon.request.requests import Requests
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import Unsupported
from glmd.wire.replies import Detokenized, Ok, Reply, Session, Sessions, Tokens
from glmd.wire.requests import (
    AnyRequest,
    Detokenize,
    SessionDelete,
    SessionGet,
    SessionList,
    SessionNew,
    SessionRename,
    Tokenize,
)


class Answers:
    """All requests but generations and those about the connection itself."""

    def __init__(self, requests: Requests, sessions: SessionStore) -> None:
        self._requests = requests
        self._sessions = sessions

    async def answer(self, request: AnyRequest, principal: str) -> Reply:
        """Raises GlmdError."""
        sessions = self._sessions
        match request:
            case Tokenize(id=id):
                tokens, pieces = await self._requests.tokenize(request)
                return Tokens(id=id, tokens=tokens, pieces=pieces)
            case Detokenize(id=id, tokens=tokens):
                return Detokenized(id=id, text=await self._requests.detokenize(tokens))
            case SessionNew(id=id, title=title):
                return Session(id=id, info=await sessions.create(principal, title))
            case SessionList(id=id, limit=limit, before=before):
                page = await sessions.recent(principal, limit, before)
                return Sessions(id=id, sessions=page)
            case SessionGet(id=id, session=session):
                info, tree, leaf = await sessions.get(principal, session)
                return Session(id=id, info=info, tree=tree, leaf=leaf)
            case SessionRename(id=id, session=session, title=title):
                await sessions.rename(principal, session, title)
                return Ok(id=id)
            case SessionDelete(id=id, session=session):
                await sessions.delete(principal, session)
                return Ok(id=id)
        raise Unsupported(f"{type(request).__name__} is not answered here.")
