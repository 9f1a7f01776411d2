"""The client for asyncio programs: the same surface, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence

from typing_extensions import Self, Unpack

from glmd.frontends.python_api._answer import R
from glmd.frontends.python_api._base import ClientBase, StreamBase, SubscriptionBase, T, Topic, only
from glmd.frontends.python_api._connection import Item
from glmd.frontends.python_api._options import (
    CallOptions,
    ChatOptions,
    CompleteOptions,
    Messages,
    Tools,
    chat_request,
    complete_request,
    new_id,
    reload_request,
    tokenize_request,
)
from glmd.frontends.python_api._results import ChatResult, CompleteResult, Delta
from glmd.frontends.python_api._timeouts import Patience
from glmd.settings import Mode
from glmd.wire import replies, requests
from glmd.wire.replies import Event, Plugins, SessionInfo, StatusReply, Tokens
from glmd.wire.requests import AnyRequest, Attach, Chat, Complete


class _Inbox:
    """Replies to one request, from the client's thread to the event loop of who waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[Item] = asyncio.Queue()

    def put(self, item: Item) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def get(self, patience: Patience, *, heard: bool) -> Item:
        """The next one, or the DaemonTimeout that says it did not come."""
        with contextlib.suppress(asyncio.QueueEmpty):
            return self._items.get_nowait()
        try:
            return await asyncio.wait_for(self._items.get(), patience.wait(heard))
        except asyncio.TimeoutError:
            return patience.error(heard)


class AsyncStream(StreamBase[R]):
    """Iterate over it for the deltas; leaving the loop, or the `async with` block, cancels the
    answer."""

    def __init__(
        self,
        client: AsyncClient,
        request: Chat | Complete | Attach,
        kind: type[R],
        options: CallOptions,
    ) -> None:
        super().__init__(client, request, kind, options)
        self._inbox = _Inbox()
        client._send(request, self._inbox.put)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.cancel()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        try:
            while (delta := await self._next()) is not None:
                yield delta
        finally:
            self.cancel()

    async def result(self) -> R:
        """The whole answer; reads what has not been iterated over. Raises what iterating raises."""
        while True:
            if (result := self._result()) is not None:
                return result
            self._take(await self._inbox.get(self._patience, heard=self._heard))

    async def _next(self) -> Delta | None:
        while self._result() is None:
            delta = self._take(await self._inbox.get(self._patience, heard=self._heard))
            if delta is not None:
                return delta
        return None


class AsyncSubscription(SubscriptionBase):
    """Iterate over it for the events; leaving the loop, or the `async with` block, ends it."""

    def __init__(self, client: AsyncClient, topics: Sequence[Topic]) -> None:
        self._inbox = _Inbox()
        super().__init__(client, topics, self._inbox.put)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            while not self._ended:
                event = self._take(await self._inbox.get(self._patience, heard=self._heard))
                if event is not None:
                    yield event
        finally:
            self.close()


class AsyncSessions:
    """Conversations kept by the daemon, and shared by every frontend that speaks for the same
    principal. All of it raises NotFound for an id that is none."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, *, limit: int = 100, before: str | None = None) -> list[SessionInfo]:
        """Newest first; `before`: the last id of the page before."""
        request = requests.SessionList(id=new_id(), limit=limit, before=before)
        return (await self._client._ask(request, replies.Sessions)).sessions

    async def get(self, session: str) -> replies.Session:
        """A session with its tree of messages."""
        request = requests.SessionGet(id=new_id(), session=session)
        return await self._client._ask(request, replies.Session)

    async def new(self, title: str = "") -> SessionInfo:
        """An empty session; without a title it is called after its first message."""
        request = requests.SessionNew(id=new_id(), title=title)
        return (await self._client._ask(request, replies.Session)).info

    async def rename(self, session: str, title: str) -> None:
        request = requests.SessionRename(id=new_id(), session=session, title=title)
        await self._client._ask(request, replies.Ok)

    async def delete(self, session: str) -> None:
        await self._client._ask(requests.SessionDelete(id=new_id(), session=session), replies.Ok)


class AsyncClient(ClientBase):
    """Talks to a running daemon; see ClientBase for the arguments.

        async with glmd.AsyncClient() as client:
            async with client.stream("你好") as answer:
                async for delta in answer:
                    print(delta.text, end="")

    Any number of tasks may use it. Every method raises the errors of glmd.errors: DaemonNotRunning
    and DaemonTimeout among them.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection. Running requests end with ConnectionFailed; detached ones go on."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    @property
    def sessions(self) -> AsyncSessions:
        return AsyncSessions(self)

    async def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatResult:
        """The whole answer to a conversation. A text is one user turn; a message may be a dict."""
        request = chat_request("chat", messages, options)
        async with AsyncStream(self, request, ChatResult, options) as stream:
            return await stream.result()

    def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> AsyncStream[ChatResult]:
        """The answer while it comes. Sends the request at once; call it inside the event loop."""
        return AsyncStream(self, chat_request("stream", messages, options), ChatResult, options)

    async def complete(
        self, prompt: str | Sequence[int], **options: Unpack[CompleteOptions]
    ) -> CompleteResult:
        """Continue a text or token ids without roles. A text is put behind `[gMASK] sop`, as all
        that ChatGLM3 was trained on; ids are taken as they are."""
        request = complete_request("complete", prompt, options)
        async with AsyncStream(self, request, CompleteResult, options) as stream:
            return await stream.result()

    def stream_complete(
        self, prompt: str | Sequence[int], **options: Unpack[CompleteOptions]
    ) -> AsyncStream[CompleteResult]:
        """The continuation while it comes."""
        return AsyncStream(
            self, complete_request("stream_complete", prompt, options), CompleteResult, options
        )

    def attach(
        self, target: str, *, from_seq: int = 0, **options: Unpack[CallOptions]
    ) -> AsyncStream[ChatResult]:
        """Take up the detached request `target` from delta `from_seq`. Raises NotFound, or
        DaemonError (expired) when it is too late."""
        request = Attach(id=new_id(), target=target, from_seq=from_seq)
        return AsyncStream(self, request, ChatResult, options)

    def subscribe(self, *topics: Topic) -> AsyncSubscription:
        """Changes of the daemon's facts, the present state first: "model", "replicas", "plugins",
        "queue". docs/protocol.md says what each event holds."""
        return AsyncSubscription(self, topics)

    async def tokenize(
        self, text: str | None = None, *, messages: Messages | None = None, tools: Tools = ()
    ) -> Tokens:
        """Ids and pieces of a text, or of the prompt that `messages` and `tools` would make."""
        return await self._ask(tokenize_request(text, messages, tools), Tokens)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        request = requests.Detokenize(id=new_id(), tokens=list(tokens))
        return (await self._ask(request, replies.Detokenized)).text

    async def plugins(self) -> Plugins:
        """The plugins, and every stage that a request may name."""
        return await self._ask(requests.ListPlugins(id=new_id()), Plugins)

    async def reload_plugins(self, plugin: str | None = None) -> Plugins:
        """Look for plugins again; load `plugin` anew also where it is the same as before. Raises
        NotFound."""
        request = requests.ReloadPlugins(id=new_id(), plugin=plugin)
        return await self._ask(request, Plugins)

    async def status(self) -> StatusReply:
        """What the daemon runs and has served."""
        return await self._ask(requests.Status(id=new_id()), StatusReply)

    async def reload(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        mode: Mode | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> StatusReply:
        """Have the daemon load a model in the place of the one it serves: see Client.reload."""
        request = reload_request(model, mode, tokenizer)
        return await self._ask(request, StatusReply, self._unhurried(timeout))

    async def _ask(self, request: AnyRequest, kind: type[T], patience: Patience | None = None) -> T:
        inbox = _Inbox()
        self._send(request, inbox.put)
        return only(await inbox.get(patience or self._patience(), heard=False), kind)
