"""Requests that are answered once, from the tokenizer and the session store."""

from __future__ import annotations

import asyncio

from glmd.daemon.chat.conversation import check_conversation
from glmd.daemon.chat.prompt import join, render
from glmd.daemon.sessions.store import SessionStore
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import InvalidRequest, Unsupported
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
    def __init__(self, tokenizer: Tokenizer, sessions: SessionStore) -> None:
        self._tokenizer = tokenizer
        self._sessions = sessions

    async def answer(self, request: AnyRequest, principal: str) -> Reply:
        """Raises GlmdError. Text goes to a thread: a megabyte of it takes the tokenizer longer than
        the event loop may be kept."""
        sessions = self._sessions
        match request:
            case Tokenize():
                return await asyncio.to_thread(self._tokenize, request)
            case Detokenize(id=id, tokens=tokens):
                return Detokenized(id=id, text=await asyncio.to_thread(self._detokenize, tokens))
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

    def _tokenize(self, request: Tokenize) -> Tokens:
        tokenizer = self._tokenizer
        if (request.text is None) == (request.messages is None):
            raise InvalidRequest("Give either text or messages.")
        if request.messages is not None:
            check_conversation(request.messages, request.tools)
            tokens = join(tokenizer, render(tokenizer, request.messages, request.tools))
        elif request.tools:
            raise InvalidRequest("Tools go with messages.")
        else:
            tokens = tokenizer.encode(request.text or "")
        return Tokens(id=request.id, tokens=tokens, pieces=tokenizer.pieces(tokens))

    def _detokenize(self, tokens: list[int]) -> str:
        unknown = next((token for token in tokens if token >= self._tokenizer.vocab), None)
        if unknown is not None:
            raise InvalidRequest(
                f"There is no token {unknown}; the tokenizer has {self._tokenizer.vocab}."
            )
        return self._tokenizer.decode(tokens)
