"""The client for ordinary programs: it blocks, and may be used from several threads."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence

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

# Seconds a wait lasts at most at a time: a signal that arrives just as Python begins to wait is
# handled only when that wait is over, and Ctrl-C should not take that long.
BREATH = 0.5


class _Inbox:
    """Replies to one request, from the client's thread to the one that waits.

    A reply is looked at and then dropped, never popped: a KeyboardInterrupt between popping and
    counting it would leave a hole in the answer."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._news.put(None)

    def first(self, patience: Patience, *, heard: bool) -> Item:
        """The next one, or the DaemonTimeout that says it did not come."""
        limit = patience.wait(heard)
        end = math.inf if limit is None else time.monotonic() + limit
        while not self._items:
            left = end - time.monotonic()
            if left <= 0:
                return patience.error(heard)
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=min(left, BREATH))
        return self._items[0]

    def drop_first(self) -> None:
        self._items.popleft()


class Stream(StreamBase[R]):
    """Iterate over it for the deltas; leaving the loop, or the `with` block, cancels the answer."""

    def __init__(
        self,
        client: Client,
        request: Chat | Complete | Attach,
        kind: type[R],
        options: CallOptions,
    ) -> None:
        super().__init__(client, request, kind, options)
        self._inbox = _Inbox()
        client._send(request, self._inbox.put)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[Delta]:
        try:
            while (delta := self._next()) is not None:
                yield delta
        finally:
            self.cancel()

    def result(self) -> R:
        """The whole answer; reads what has not been iterated over. Raises what iterating raises."""
        while True:
            if (result := self._result()) is not None:
                return result
            self._step()

    def _next(self) -> Delta | None:
        while self._result() is None:
            if (delta := self._step()) is not None:
                return delta
        return None

    def _step(self) -> Delta | None:
        delta = self._take(self._inbox.first(self._patience, heard=self._heard))
        self._inbox.drop_first()
        return delta


class Subscription(SubscriptionBase):
    """Iterate over it for the events; leaving the loop, or the `with` block, ends it."""

    def __init__(self, client: Client, topics: Sequence[Topic]) -> None:
        self._inbox = _Inbox()
        super().__init__(client, topics, self._inbox.put)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        try:
            while not self._ended:
                event = self._take(self._inbox.first(self._patience, heard=self._heard))
                self._inbox.drop_first()
                if event is not None:
                    yield event
        finally:
            self.close()


class Sessions:
    """Conversations kept by the daemon, and shared by every frontend that speaks for the same
    principal. All of it raises NotFound for an id that is none."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, limit: int = 100, before: str | None = None) -> list[SessionInfo]:
        """Newest first; `before`: the last id of the page before."""
        request = requests.SessionList(id=new_id(), limit=limit, before=before)
        return self._client._ask(request, replies.Sessions).sessions

    def get(self, session: str) -> replies.Session:
        """A session with its tree of messages."""
        return self._client._ask(requests.SessionGet(id=new_id(), session=session), replies.Session)

    def new(self, title: str = "") -> SessionInfo:
        """An empty session; without a title it is called after its first message."""
        return self._client._ask(
            requests.SessionNew(id=new_id(), title=title), replies.Session
        ).info

    def rename(self, session: str, title: str) -> None:
        request = requests.SessionRename(id=new_id(), session=session, title=title)
        self._client._ask(request, replies.Ok)

    def delete(self, session: str) -> None:
        self._client._ask(requests.SessionDelete(id=new_id(), session=session), replies.Ok)


class Client(ClientBase):
    """Talks to a running daemon; see ClientBase for the arguments.

        with glmd.Client() as client:
            with client.stream("你好") as answer:
                for delta in answer:
                    print(delta.text, end="")

    Any thread may use it. After a fork the child needs one of its own. Every method raises the
    errors of glmd.errors: DaemonNotRunning and DaemonTimeout among them.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. Running requests end with ConnectionFailed; detached ones go on."""
        self._close()

    @property
    def sessions(self) -> Sessions:
        return Sessions(self)

    def chat(self, messages: Messages, **options: Unpack[ChatOptions]) -> ChatResult:
        """The whole answer to a conversation. A text is one user turn; a message may be a dict."""
        request = chat_request("chat", messages, options)
        with Stream(self, request, ChatResult, options) as stream:
            return stream.result()

    def stream(self, messages: Messages, **options: Unpack[ChatOptions]) -> Stream[ChatResult]:
        """The answer while it comes."""
        return Stream(self, chat_request("stream", messages, options), ChatResult, options)

    def complete(
        self, prompt: str | Sequence[int], **options: Unpack[CompleteOptions]
    ) -> CompleteResult:
        """Continue a text or token ids without roles. A text is put behind `[gMASK] sop`, as all
        that ChatGLM3 was trained on; ids are taken as they are."""
        request = complete_request("complete", prompt, options)
        with Stream(self, request, CompleteResult, options) as stream:
            return stream.result()

    def stream_complete(
        self, prompt: str | Sequence[int], **options: Unpack[CompleteOptions]
    ) -> Stream[CompleteResult]:
        """The continuation while it comes."""
        return Stream(
            self, complete_request("stream_complete", prompt, options), CompleteResult, options
        )

    def attach(
        self, target: str, *, from_seq: int = 0, **options: Unpack[CallOptions]
    ) -> Stream[ChatResult]:
        """Take up the detached request `target` from delta `from_seq`. Raises NotFound, or
        DaemonError (expired) when it is too late."""
        request = Attach(id=new_id(), target=target, from_seq=from_seq)
        return Stream(self, request, ChatResult, options)

    def subscribe(self, *topics: Topic) -> Subscription:
        """Changes of the daemon's facts, the present state first: "model", "replicas", "plugins",
        "queue". docs/protocol.md says what each event holds."""
        return Subscription(self, topics)

    def tokenize(
        self, text: str | None = None, *, messages: Messages | None = None, tools: Tools = ()
    ) -> Tokens:
        """Ids and pieces of a text, or of the prompt that `messages` and `tools` would make."""
        return self._ask(tokenize_request(text, messages, tools), Tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        request = requests.Detokenize(id=new_id(), tokens=list(tokens))
        return self._ask(request, replies.Detokenized).text

    def plugins(self) -> Plugins:
        """The plugins, and every stage that a request may name."""
        return self._ask(requests.ListPlugins(id=new_id()), Plugins)

    def reload_plugins(self, plugin: str | None = None) -> Plugins:
        """Look for plugins again; load `plugin` anew also where it is the same as before. Raises
        NotFound."""
        request = requests.ReloadPlugins(id=new_id(), plugin=plugin)
        return self._ask(request, Plugins)

    def status(self) -> StatusReply:
        """What the daemon runs and has served."""
        return self._ask(requests.Status(id=new_id()), StatusReply)

    def reload(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        mode: Mode | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
    ) -> StatusReply:
        """Have the daemon load a model in the place of the one it serves: the same as its files are
        now, or another one. Waits until it serves, for `timeout` seconds at most; the reload goes
        on when that has passed.

        Requests in flight end on the model they were accepted for. Raises ModelError and others for
        what kept the new model from serving, and the old one goes on; Busy while another reload
        runs; Refused unless the daemon is on this machine.
        """
        request = reload_request(model, mode, tokenizer)
        return self._ask(request, StatusReply, self._unhurried(timeout))

    def _ask(self, request: AnyRequest, kind: type[T], patience: Patience | None = None) -> T:
        inbox = _Inbox()
        self._send(request, inbox.put)
        return only(inbox.first(patience or self._patience(), heard=False), kind)
