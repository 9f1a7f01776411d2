"""The pool: takes requests, gives them to replicas, keeps those who wait informed."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable
from copy import copy

from glmd.daemon.engine.messages import Ready
from glmd.daemon.plugins.version import Version
from glmd.daemon.pool.grammar import count
from glmd.daemon.pool.job import Job, Listener
from glmd.daemon.pool.placement import place
from glmd.daemon.pool.queue import FairQueue
from glmd.daemon.pool.replica import Replica
from glmd.daemon.pool.spec import ALONE, Beside, Files, PoolSpec, Timeouts
from glmd.daemon.pool.ticket import Ticket
from glmd.errors import (
    Busy,
    Code,
    ContextOverflow,
    DaemonError,
    EngineFailed,
    GlmdError,
    InvalidRequest,
)
from glmd.wire.replies import ReplicaStatus

# Seconds between two words of progress, which a client is promised at least once a second.
TICK = 0.5

# Sessions of which the pool remembers where they ran.
MAX_AFFINITIES = 1024


class Pool:
    """All replicas of one model. Lives on the event loop and never blocks it.

    `on_change` is called with "replicas", "model" or "queue" when facts about those have changed,
    `on_blame` with a plugin in whose code a request failed, or an engine died (`crashed`).
    `files` says where the model's files are when an engine child is started; without it they are
    where the spec says. Raises InvalidRequest when the replicas cannot be laid out as the spec
    asks.
    """

    def __init__(
        self,
        spec: PoolSpec,
        *,
        on_change: Callable[[str], None],
        on_blame: Callable[[Version, str, bool], None] = lambda version, what, crashed: None,
        timeouts: Timeouts | None = None,
        files: Files | None = None,
    ) -> None:
        placement = place(spec)
        self.placement = placement.reason
        self._on_change = on_change
        self._on_blame = on_blame
        self._queue: FairQueue[Ticket] = FairQueue(spec.max_queue)
        self._affinities: OrderedDict[str, Replica] = OrderedDict()
        self._ids = itertools.count(1)
        self._seconds = 1.0  # a request takes, smoothed
        self._stopping = False
        self._settled = asyncio.Event()  # every replica has once been ready or given up
        self._idle = asyncio.Event()  # nothing runs or waits
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None
        self._replicas = [
            Replica(i, load, timeouts or Timeouts(), self, spec.name, spec.vocabulary, files)
            for i, load in enumerate(placement.loads)
        ]

    # -- life ----------------------------------------------------------------------------------

    async def start(self, beside: Beside = ALONE) -> None:
        """Spawn the engine children; they load in the background."""
        self._tick()
        for replica in self._replicas:
            replica.start(beside)

    async def ready(self) -> None:
        """Wait until every replica has loaded or failed. Raises ModelError or EngineFailed when
        none can serve."""
        await self._settled.wait()
        if self._stopping:
            raise DaemonError("The daemon is stopping.", code=Code.STOPPING)
        if error := self.failure():
            raise error

    async def stop(self, drain: float) -> None:
        """Refuse new requests, give the accepted ones `drain` seconds, end the children. May be
        called again, with less patience."""
        self._stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), drain)
        except asyncio.TimeoutError:
            self._fail_all(
                DaemonError("The daemon is stopping.", code=Code.STOPPING, hint="Start it again.")
            )
        await asyncio.gather(*(replica.stop() for replica in self._replicas))
        if self._timer:
            self._timer.cancel()

    # -- requests ------------------------------------------------------------------------------

    def submit(self, job: Job, listener: Listener) -> Ticket:
        """Take a request; `listener` is first called after this has returned.

        Raises Busy when the queue is full, InvalidRequest and ContextOverflow for what the model
        can never do, DaemonError when stopping, and why there is no model when there is none.
        """
        if self._stopping:
            raise DaemonError("The daemon is stopping.", code=Code.STOPPING)
        if failure := self.failure():
            raise failure
        if self.model and (error := _misfit(job, self.model)):
            raise error
        if not self._has_room(job):
            waiting = count(len(self._queue), "request", "is")
            raise Busy(
                f"{waiting} waiting, which is all the queue takes.",
                hint="Try again a little later.",
                retry_after_ms=self._retry_after_ms(),
            )
        ticket = Ticket(next(self._ids), job, listener, self)
        self._queue.push(ticket)
        self._idle.clear()
        self._dispatch()
        self._on_change("queue")
        return ticket

    def cancel(self, ticket: Ticket, choice: int | None) -> None:
        """For tickets: see Ticket.cancel."""
        for replica in self._replicas:
            replica.cancel(ticket, choice)
        if ticket.drop(choice) and not ticket.answers and self._queue.remove(ticket):
            self._dispatch()
            self._on_change("queue")

    def _has_room(self, job: Job) -> bool:
        if not len(self._queue) and any(r.free >= job.n for r in self._replicas):
            return True
        return self._queue.has_room(job.principal)

    def _dispatch(self) -> None:
        """Start those whose turn it is, as long as there are slots for them. Nobody overtakes, or
        a request for many answers would never find that many slots."""
        while ticket := self._queue.first():
            error = ticket.job.lost or (_misfit(ticket.job, self.model) if self.model else None)
            if error is not None:
                self._queue.pop()
                ticket.failed(error)
                continue
            replica = self._choose(ticket)
            if replica is None:
                break
            self._queue.pop()
            replica.submit(ticket)
        if not self._queue and not self.running:
            self._idle.set()

    def _choose(self, ticket: Ticket) -> Replica | None:
        """The replica that has the conversation in its cache, else the one with the most free
        slots."""
        free = [replica for replica in self._replicas if replica.free >= len(ticket.answers)]
        if not free:
            return None
        affinity = ticket.job.affinity
        usual = self._affinities.pop(affinity, None)
        replica = usual if usual in free else max(free, key=lambda r: r.free)
        if affinity:
            self._affinities[affinity] = replica
            if len(self._affinities) > MAX_AFFINITIES:
                self._affinities.popitem(last=False)
        return replica

    def _retry_after_ms(self) -> int:
        """When a place in the queue should be free: the requests that run end one by one."""
        return int(1000 * min(max(self._seconds / max(self.running, 1), 0.25), 60.0))

    # -- from the replicas -----------------------------------------------------------------------

    def freed(self, seconds: float | None) -> None:
        if seconds is not None:
            self._seconds += 0.2 * (seconds - self._seconds)
        self._dispatch()
        self._on_change("queue")

    def blame(self, version: Version, what: str, *, crashed: bool) -> None:
        self._on_blame(version, what, crashed)

    def retired(self, version: Version) -> None:
        """No new request will name this version of a plugin."""
        for replica in self._replicas:
            replica.take_back_plugins()

    def state_changed(self, replica: Replica) -> None:
        if not any(r.state in {"loading", "restarting"} for r in self._replicas):
            self._settled.set()
        if failure := self.failure():
            self._fail_all(failure)
        self._dispatch()
        self._on_change("replicas")
        if replica.state == "ready":
            self._on_change("model")

    def failure(self) -> GlmdError | None:
        """Why nobody can serve; None while somebody can or may yet."""
        if any(replica.state != "failed" for replica in self._replicas):
            return None
        error = next((r.error for r in self._replicas if r.error), EngineFailed("No replica runs."))
        return copy(error)  # raising one object again and again would grow its traceback

    def _fail_all(self, error: GlmdError) -> None:
        for ticket in self._queue.clear():
            ticket.failed(error)
        for replica in self._replicas:
            replica.fail_all(error)
        self._dispatch()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        for replica in self._replicas:
            replica.tick()
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        loading = not any(replica.state == "ready" for replica in self._replicas)
        done, total = self.loading
        for ahead, ticket in enumerate(list(self._queue)):
            if loading:
                ticket.waits("loading", done, total)
            else:
                ticket.waits("queued", ahead, len(self._queue))

    # -- facts ---------------------------------------------------------------------------------

    @property
    def model(self) -> Ready | None:
        """What has been loaded, with the slots of the smallest replica; None before that."""
        loaded = [replica.model for replica in self._replicas if replica.model]
        return min(loaded, key=lambda model: model.slots, default=None)

    @property
    def loading(self) -> tuple[int, int]:
        """Bytes of weights that all replicas have read, and have to read."""
        read, of = zip(*(replica.progress for replica in self._replicas), strict=True)
        return sum(read), sum(of)

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def running(self) -> int:
        return sum(replica.running for replica in self._replicas)

    @property
    def promised(self) -> int:
        """Bytes that the engine children may still come to take."""
        return sum(replica.promised for replica in self._replicas)

    def replicas(self) -> list[ReplicaStatus]:
        return [replica.status() for replica in self._replicas]


def _misfit(job: Job, model: Ready) -> GlmdError | None:
    """Why this model can never serve the job."""
    if job.n > model.slots:
        return InvalidRequest(
            f"{job.n} answers were asked for; at most {model.slots} can be made at once.",
            hint="Ask for fewer, or start the daemon with more slots.",
        )
    if len(job.prompt) > model.context:
        return ContextOverflow(
            f"The prompt has {len(job.prompt)} tokens; the context holds {model.context}.",
            hint="Shorten it, or ask for the oldest turns to be dropped.",
        )
    return None
