"""What the daemon does with each message: who says it, what it asks, where the answer goes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import zmq

from glmd.daemon.request.outlet import Outlet
from glmd.daemon.server.connection import LIVE_REQUESTS, Connection
from glmd.daemon.server.gate import Gate
from glmd.daemon.server.socket import Router
from glmd.daemon.server.stream import (
    CREDIT_TIMEOUT,
    DETACHED_TTL,
    Running,
    Stream,
    failure,
)
from glmd.daemon.server.topics import Facts, Subscription, Topics
from glmd.errors import Busy, Code, DaemonError, GlmdError, InvalidRequest, NotFound, Refused
from glmd.keys import KeyPair
from glmd.wire import PROTOCOL_MAX, PROTOCOL_MIN, codec
from glmd.wire.replies import Failure, Limits, Ok, Reply, StatusReply, Welcome
from glmd.wire.requests import (
    AnyRequest,
    Attach,
    Cancel,
    Chat,
    Complete,
    GrantCredit,
    Hello,
    Reload,
    Status,
    Subscribe,
)

log = logging.getLogger(__name__)

CHECK_INTERVAL = 0.5  # seconds between looks for readers that are away
RETRY_INTERVAL = 0.02  # seconds between tries to send to a client that reads slowly
ENDED_BYTES = 64 << 20  # of all detached streams that are over
LINGER_MS = 250  # that last messages get when the daemon ends


class Requests(Protocol):
    """What makes answers: `glmd.daemon.request.Requests`."""

    def start(self, request: Chat | Complete, principal: str, outlet: Outlet) -> Running: ...


class Answers(Protocol):
    """What answers everything that is asked and answered once: `glmd.daemon.server.answers`."""

    async def answer(self, request: AnyRequest, principal: str) -> Reply:
        """Raises GlmdError."""


class Server:
    """The daemon's socket and everything about its clients. Made and used on the event loop.

    `version` and `boot_id` are what hello is answered with. `status` describes the daemon under a
    request's id, and `sources` its facts by topic, see Subscribe.
    """

    def __init__(
        self,
        version: str,
        boot_id: str,
        requests: Requests,
        answers: Answers,
        status: Callable[[str], StatusReply],
        sources: Mapping[str, Callable[[], Facts]],
        max_queue: int,
    ) -> None:
        self._version = version
        self._boot_id = boot_id
        self._requests = requests
        self._answers = answers
        self._status = status
        self._max_queue = max_queue
        self._context: zmq.Context[Any] = zmq.Context()
        self._router = Router(self._context, self)
        self._connections: dict[bytes, Connection] = {}
        self._detached: dict[tuple[str, str], Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._topics = Topics(sources, self._connections.values)
        self._stopping = False
        self._retry: asyncio.TimerHandle | None = None
        self._check = self._loop.call_later(CHECK_INTERVAL, self._check_readers)
        self._served_before = 0
        self._gate: Gate | None = None

    # -- life ----------------------------------------------------------------------------------

    @property
    def clients(self) -> int:
        return len(self._connections)

    @property
    def clients_served(self) -> int:
        """Connections that had a request accepted."""
        return self._served_before + sum(c.served for c in self._connections.values())

    def listen(self, socket: Path) -> str:
        """Serve on a UNIX socket; the caller holds the daemon's lock. Returns the endpoint. Raises
        zmq.ZMQError."""
        return self._router.bind_local(socket)

    def listen_tcp(self, endpoint: str, keys: KeyPair) -> str:
        """Serve the authorised clients on tcp as well. Returns the endpoint with its port. Raises
        zmq.ZMQError."""
        self._gate = Gate(self._context)
        return self._router.bind_tcp(endpoint, keys)

    def changed(self) -> None:
        """A fact of some topic may be different now."""
        self._topics.changed()

    def refuse_new(self) -> None:
        """From now on, generations get `stopping`."""
        self._stopping = True

    async def finish(self, seconds: float) -> None:
        """When nothing is generated any more: give readers `seconds` to take what is theirs."""
        for _ in range(round(seconds / RETRY_INTERVAL)):
            if not any(connection.streams for connection in self._connections.values()):
                return
            await asyncio.sleep(RETRY_INTERVAL)

    def close(self) -> None:
        """Tell readers that are still behind that it is over; messages on their way have a quarter
        of a second. Then all connections end."""
        for connection in list(self._connections.values()):
            for stream in list(connection.streams.values()):
                stream.abandon(DaemonError("The daemon is stopping.", code=Code.STOPPING))
        self._topics.close()
        self._check.cancel()
        if self._retry is not None:
            self._retry.cancel()
        for task in self._tasks:
            task.cancel()
        if self._gate is not None:
            self._gate.close()
        self._router.close(LINGER_MS)
        self._context.destroy(LINGER_MS)

    # -- from the socket -----------------------------------------------------------------------

    def message(self, peer: bytes, fd: int, frames: list[bytes]) -> None:
        connection = self._connections.get(peer)
        request_id = ""
        try:
            if len(frames) != 1:
                raise InvalidRequest("A message is one frame.", code=Code.BAD_MESSAGE)
            request = codec.decode_request(frames[0])
            request_id = request.id
            if isinstance(request, Hello):
                self._hello(connection, peer, fd, request)
            elif connection is None:
                raise Refused(
                    "This connection has not said hello to this daemon.",
                    hint="Say hello first; after a restart of the daemon, again.",
                    code=Code.HELLO_FIRST,
                )
            else:
                self._handle(connection, request)
        except GlmdError as error:
            if isinstance(error, codec.Undecodable):
                request_id = error.id
            self._refuse(connection, peer, failure(request_id, error))
        except Exception:
            log.exception("A fault while handling a message.")
            self._refuse(connection, peer, failure(request_id, _fault()))

    def full(self) -> None:
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_INTERVAL, self._try_again)

    def disconnected(self, fd: int) -> None:
        for connection in [c for c in self._connections.values() if c.fd == fd]:
            self._drop(connection)

    def _refuse(self, connection: Connection | None, peer: bytes, refusal: Failure) -> None:
        if connection is None:
            self._router.send(peer, codec.encode(refusal))
        else:
            connection.send(refusal)

    # -- operations ----------------------------------------------------------------------------

    def _hello(self, known: Connection | None, peer: bytes, fd: int, hello: Hello) -> None:
        if known is not None:
            raise InvalidRequest("This connection has said hello before.")
        lowest, highest = hello.protocol
        version = min(highest, PROTOCOL_MAX)
        if version < max(lowest, PROTOCOL_MIN):
            raise Refused(
                f"The client speaks protocol {lowest} to {highest}, this daemon {PROTOCOL_MIN} to "
                f"{PROTOCOL_MAX}.",
                hint="Update the older of the two.",
                code=Code.PROTOCOL_MISMATCH,
            )
        self._router.check_live()
        if fd not in self._router.live:
            return  # the client left while its hello waited
        self.disconnected(fd)  # whoever had this descriptor before
        connection = Connection(self._router, peer, fd, hello, self._drop)
        self._connections[peer] = connection
        log.debug("%r connected for %r.", connection.client, connection.principal)
        limits = Limits(codec.MAX_REQUEST, self._max_queue, CREDIT_TIMEOUT, DETACHED_TTL)
        connection.send(
            Welcome(
                id=hello.id,
                protocol=version,
                server=self._version,
                boot_id=self._boot_id,
                pid=os.getpid(),
                limits=limits,
            )
        )

    def _handle(self, connection: Connection, request: AnyRequest) -> None:
        principal = request.principal or connection.principal
        if isinstance(request, Reload) and not connection.local:
            raise Refused(
                "The model is reloaded from the daemon's own machine only.",
                hint="Run `glmd reload` there.",
            )
        if isinstance(request, GrantCredit):
            if stream := connection.streams.get(request.target):
                stream.grant(request.n)
        elif isinstance(request, Cancel):
            if stream := self._find(connection, request.target, principal):
                stream.cancel()
            connection.send(Ok(id=request.id))
        elif isinstance(request, Subscribe):
            self._subscribe(connection, request)
        else:
            self._check_id(connection, request.id)
            if isinstance(request, Status):
                connection.send(self._status(request.id))
            elif isinstance(request, Attach):
                self._attach(connection, request, principal)
            elif isinstance(request, Chat | Complete):
                self._generate(connection, request, principal)
            else:
                task = self._loop.create_task(self._answer(connection, request, principal))
                connection.answers[request.id] = task
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _check_id(self, connection: Connection, request_id: str) -> None:
        if connection.uses(request_id):
            raise InvalidRequest(
                f"The id {request_id} belongs to a request that is still running.",
                code=Code.DUPLICATE_ID,
            )
        if len(connection.streams) + len(connection.answers) >= LIVE_REQUESTS:
            raise Busy(
                f"This connection has {LIVE_REQUESTS} requests running.",
                hint="Wait for one of them.",
                retry_after_ms=1000,
            )

    def _generate(self, connection: Connection, request: Chat | Complete, principal: str) -> None:
        if self._stopping:
            raise DaemonError("The daemon is stopping.", code=Code.STOPPING)
        if request.detached and (principal, request.id) in self._detached:
            raise InvalidRequest(
                f"A detached request {request.id} of {principal} is still kept.",
                hint="Choose ids of detached requests at random.",
                code=Code.DUPLICATE_ID,
            )
        stream = Stream(
            request.id, principal, connection, request.credit, detached=request.detached
        )
        if request.detached:
            self._detached[principal, request.id] = stream
        stream.runs(self._requests.start(request, principal, stream))

    def _attach(self, connection: Connection, request: Attach, principal: str) -> None:
        stream = self._detached.get((principal, request.target))
        if stream is None:
            raise NotFound(
                f"There is no detached request {request.target} of {principal}.",
                hint=f"It is kept for {DETACHED_TTL:.0f} seconds after its end.",
            )
        stream.attach(connection, request.id, request.from_seq, request.credit)

    def _find(self, connection: Connection, target: str, principal: str) -> Stream | None:
        return connection.streams.get(target) or self._detached.get((principal, target))

    def _subscribe(self, connection: Connection, request: Subscribe) -> None:
        old = connection.subscription
        if old is None or old.id != request.id:
            self._check_id(connection, request.id)
        connection.send(Ok(id=request.id))
        connection.subscription = (
            Subscription(request.id, request.topics) if request.topics else None
        )
        self._topics.tell(connection)

    async def _answer(self, connection: Connection, request: AnyRequest, principal: str) -> None:
        try:
            reply = await self._answers.answer(request, principal)
        except GlmdError as error:
            reply = failure(request.id, error)
        except Exception:
            log.exception("A fault while answering.")
            reply = failure(request.id, _fault())
        finally:
            connection.answers.pop(request.id, None)
        connection.send(reply)

    # -- looking after clients -----------------------------------------------------------------

    def _drop(self, connection: Connection) -> None:
        """The client is gone: nobody waits for its requests, but for the detached ones."""
        if self._connections.pop(connection.peer, None) is None:
            return
        connection.lost = True
        self._served_before += connection.served
        log.debug("%r left.", connection.client)
        for stream in list(connection.streams.values()):
            stream.detach()

    def _check_readers(self) -> None:
        self._check = self._loop.call_later(CHECK_INTERVAL, self._check_readers)
        now = time.monotonic()
        for connection in list(self._connections.values()):
            for stream in list(connection.streams.values()):
                stream.check(now)
        self._forget_ended(now)

    def _forget_ended(self, now: float) -> None:
        """Let go of detached streams that are over: the old ones, and the oldest of too many."""
        ended = [
            (stream.ended, key, stream)
            for key, stream in self._detached.items()
            if stream.ended is not None and stream.reader is None
        ]
        held = sum(stream.size for _, _, stream in ended)
        for at, key, stream in sorted(ended, key=lambda item: item[0]):
            if stream.worth_keeping and now - at < DETACHED_TTL and held <= ENDED_BYTES:
                continue
            held -= stream.size
            del self._detached[key]

    def _try_again(self) -> None:
        self._retry = None
        for connection in [c for c in self._connections.values() if c.stuck]:
            connection.flush()
            for stream in list(connection.streams.values()):
                stream.flush()
            self._topics.tell(connection)
            if connection.overflowing:
                log.warning("%r does not read; it is let go.", connection.client)
                self._drop(connection)


def _fault() -> DaemonError:
    return DaemonError("A fault inside the daemon.", hint="The daemon's log says more.")
