"""Requests that are answered once: about text, plugins, the model and sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from glmd.daemon.plugins.manager import Plugins
from glmd.daemon.request.requests import Requests
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import Unsupported
from glmd.wire.replies import Detokenized, Ok, Reply, Session, Sessions, StatusReply, Tokens
from glmd.wire.replies import Plugins as PluginList
from glmd.wire.requests import (
    AnyRequest,
    Detokenize,
    ListPlugins,
    Reload,
    ReloadPlugins,
    SessionDelete,
    SessionGet,
    SessionList,
    SessionNew,
    SessionRename,
    Tokenize,
)


class Answers:
    """All requests but generations and those about the connection itself."""

    def __init__(
        self,
        requests: Requests,
        sessions: SessionStore,
        plugins: Plugins,
        reload: Callable[[Reload], Awaitable[StatusReply]],
    ) -> None:
        self._requests = requests
        self._plugins = plugins
        self._sessions = sessions
        self._reload = reload

    async def answer(self, request: AnyRequest, principal: str) -> Reply:
        """Raises GlmdError."""
        sessions = self._sessions
        match request:
            case Reload():
                return await self._reload(request)
            case Tokenize(id=id):
                tokens, pieces = await self._requests.tokenize(request)
                return Tokens(id=id, tokens=tokens, pieces=pieces)
            case Detokenize(id=id, tokens=tokens):
                return Detokenized(id=id, text=await self._requests.detokenize(tokens))
            case ListPlugins(id=id):
                return self._list_plugins(id)
            case ReloadPlugins(id=id, plugin=plugin):
                await self._plugins.reload(plugin)
                return self._list_plugins(id)
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

    def _list_plugins(self, request_id: str) -> PluginList:
        plugins = self._plugins
        return PluginList(id=request_id, plugins=plugins.infos(), stages=plugins.stages())
