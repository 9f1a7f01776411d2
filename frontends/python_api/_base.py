"""What the sync and the async client share: everything that does not wait."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec
import zmq
from typing_extensions import Self

from glmd.errors import ConnectionFailed, GlmdError
from glmd.frontends.python_api._answer import Answer, R, failure, unexpected
from glmd.frontends.python_api._channel import Channel
from glmd.frontends.python_api._connection import (
    Connection,
    Exchange,
    Item,
    Side,
    is_detached,
)
from glmd.frontends.python_api._endpoint import local, remote
from glmd.frontends.python_api._link import Link
from glmd.frontends.python_api._options import CallOptions, new_id
from glmd.frontends.python_api._results import Delta
from glmd.frontends.python_api._timeouts import Patience, Timeouts
from glmd.paths import DEFAULT_NAME
from glmd.wire.replies import Accepted, AnyReply, Event, Failure, Ok, Progress
from glmd.wire.requests import (
    AnyRequest,
    Attach,
    Cancel,
    Chat,
    Complete,
    GrantCredit,
    Request,
    Subscribe,
)

Topic: TypeAlias = Literal["model", "replicas", "plugins", "queue"]

T = TypeVar("T", bound=AnyReply)
Q = TypeVar("Q", bound=Request)


def _dial(
    name: str,
    address: str | None,
    server_key: str | None,
    principal: str | None,
    timeout: float | None,
    context: zmq.Context[zmq.Socket[bytes]],
) -> Channel:
    endpoint = local(name) if address is None else remote(address, server_key)
    return Channel(context, Connection(principal), name, endpoint, timeout)


class ClientBase:
    """A connection to one daemon, made when it is first needed and again after it was lost.

    name: the daemon's, as in `glmd start --name`.
    endpoint: where it listens, if not at the local socket of that name.
    server_key: public key of a daemon on tcp, 64 hex digits, if not in known_daemons (glmd.keys).
    principal: who the client speaks for. Fairness, and ownership of sessions and detached
        requests, count by it. None is the same as "local", which is also what the CLI uses.
    timeouts: see Timeouts.
    """

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        *,
        endpoint: str | None = None,
        server_key: str | None = None,
        principal: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
    ) -> None:
        self._where = endpoint or name
        self._name = name
        self._timeouts = timeouts
        self._principal: str | None = None  # of a view; otherwise hello has said it
        self._owner: ClientBase | None = None  # of a view: keeps the connection open
        self._dial = functools.partial(
            _dial, name, endpoint, server_key, principal, timeouts.connect
        )
        self._link = Link(self._dial)
        self._finalizer = weakref.finalize(self, self._link.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._where}>"

    def acting_for(self, principal: str) -> Self:
        """This client speaking for somebody else, over the same connection: what a frontend that
        serves many people gives each of them. Closing the view closes nothing."""
        view = copy.copy(self)
        view._principal = principal
        view._owner = self._owner or self
        return view

    def _patience(self, total: float | None = None) -> Patience:
        return Patience(self._timeouts, total, self._name)

    def _unhurried(self, total: float | None) -> Patience:
        """For a request whose only reply may take any time; `total` seconds at most."""
        return Patience(msgspec.structs.replace(self._timeouts, accept=None), total, self._name)

    def _close(self) -> None:
        if self._owner is None:
            self._finalizer()

    def _send(self, request: AnyRequest, put: Callable[[Item], None]) -> None:
        self._link.open(Exchange(self._signed(request), put))

    def _tell(self, request: Side) -> None:
        self._link.tell(self._signed(request))

    def _signed(self, request: Q) -> Q:
        if self._principal is None:
            return request
        return msgspec.structs.replace(request, principal=self._principal)


def only(item: Item, kind: type[T]) -> T:
    """The one reply to a request, which must be a `kind`. Raises what it says otherwise."""
    if isinstance(item, GlmdError):
        raise item
    if isinstance(item, Failure):
        raise failure(item)
    if not isinstance(item, kind):
        raise unexpected(item)
    return item


class StreamBase(Generic[R]):
    """An answer while it comes. One thread or task reads it; any may cancel it."""

    def __init__(
        self,
        client: ClientBase,
        request: Chat | Complete | Attach,
        kind: type[R],
        options: CallOptions,
    ) -> None:
        self._client = client
        self._request = request
        self._answer = Answer(request, kind)
        self._on_progress = options.get("on_progress")
        self._heard = False
        self._error: GlmdError | None = None
        self._cancelled = False
        self._patience = client._patience(options.get("timeout"))

    def __del__(self) -> None:
        if not is_detached(self._request):  # its id may be all that was wanted
            self.cancel()

    @property
    def id(self) -> str:
        """Names the request; `attach` takes it when the request was detached."""
        return self._answer.id

    @property
    def text(self) -> str:
        """The text so far, of the first choice."""
        return self._answer.text()

    @property
    def accepted(self) -> Accepted | None:
        """Prompt length, seed, session: known from the first reply on."""
        return self._answer.accepted

    def cancel(self) -> None:
        """End the answer. What has come stays, and `result()` says "cancelled". Does not wait."""
        if not self._cancelled and self._error is None and self._answer.result is None:
            self._cancelled = True
            self._client._tell(Cancel(id=new_id(), target=self._request.id))

    def _result(self) -> R | None:
        """The result once it is there. Raises the error that ended the answer instead."""
        if self._error is not None:
            raise self._error
        return self._answer.result

    def _take(self, item: Item) -> Delta | None:
        self._heard = True
        try:
            if isinstance(item, GlmdError):
                raise item
            delta = self._answer.feed(item)
        except GlmdError as error:
            self.cancel()  # of a time-out or a missing piece the daemon does not know
            self._error = error
            raise
        if self._on_progress is not None and isinstance(item, Progress):
            self._on_progress(item)
        if due := self._answer.credit_due():
            self._client._tell(GrantCredit(id=new_id(), target=self._request.id, n=due))
        return delta


class SubscriptionBase:
    """Facts as they change. Has a connection of its own, since the daemon keeps one subscription a
    connection."""

    def __init__(
        self, client: ClientBase, topics: Sequence[Topic], put: Callable[[Item], None]
    ) -> None:
        self._patience = Patience(
            msgspec.structs.replace(client._timeouts, silence=None, total=None), None, client._name
        )
        self._heard = False
        self._ended = False
        self._link = Link(client._dial)
        self._finalizer = weakref.finalize(self, self._link.close)
        self._link.open(Exchange(Subscribe(id=new_id(), topics=list(topics)), put))

    def close(self) -> None:
        """End it. Whoever waits for the next event gets none."""
        self._ended = True
        self._finalizer()

    def _take(self, item: Item) -> Event | None:
        self._heard = True
        if isinstance(item, Ok):
            return None
        if self._ended and isinstance(item, ConnectionFailed):
            return None
        return only(item, Event)
