"""The model that serves, those that finish what they have accepted, and the one that comes next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from glmd.daemon.models.deployment import Deployment
from glmd.daemon.models.entrance import Entrance
from glmd.daemon.models.plan import Plan
from glmd.daemon.models.reload import Reload
from glmd.daemon.plugins.version import Version
from glmd.daemon.pool.pool import Pool
from glmd.errors import Busy, Code, GlmdError
from glmd.settings import DaemonSettings
from glmd.wire.replies import ReloadStatus, ReplicaStatus

RETRY_MS = 5000  # when to ask again for a reload while another one runs

Blame = Callable[[Version, str, bool], None]


def nobody(version: Version, what: str, crashed: bool) -> None:
    """Blames nobody."""


class Serving(Deployment):
    """A deployment of ours, with the plan it was made from."""

    def __init__(self, plan: Plan, on_change: Callable[[str], None], on_blame: Blame) -> None:
        """Raises InvalidRequest when its replicas cannot be laid out as the plan asks."""
        self.plan = plan
        self.replicas = Pool(plan.spec, on_change=on_change, on_blame=on_blame, files=plan.pin)
        super().__init__(plan.tokenizer, self.replicas)


class Models:
    """Lives on the event loop. `present` is what new requests get, `leaving` those that serve what
    they have accepted before; `coming` is being loaded. `last`: the reload that runs, or the last
    one.

    `on_change` and `on_blame` are as in Pool.
    """

    def __init__(
        self, first: Plan, *, on_change: Callable[[str], None], on_blame: Blame = nobody
    ) -> None:
        """Raises InvalidRequest when the replicas cannot be laid out as the plan asks."""
        self._on_change = on_change
        self._on_blame = on_blame
        self.present = self.make(first)
        self.entrance = Entrance(self.present, first.config.max_queue, on_change)
        self.leaving: list[Serving] = []
        self.coming: Serving | None = None
        self.last: ReloadStatus | None = None
        self._past = (0, 0)  # requests and loads of those that are gone
        self._reloading: asyncio.Task[GlmdError | None] | None = None
        self._departures: set[asyncio.Task[None]] = set()
        self._stopping = False

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to load the first model."""
        await self.present.replicas.start()

    async def reload(self, said: DaemonSettings) -> None:
        """Have another model serve, or the same one as its files are now; returns when it does.
        Goes on when the caller does not.

        Raises Busy while another reload runs, and what kept the model from serving: the old one
        still does, then.
        """
        if self._reloading is not None:
            raise Busy(
                f"The daemon is loading {self.last.model_path if self.last else 'a model'} already."
                " One reload at a time.",
                hint="Ask again when that one is over; `glmd status` shows how far it is.",
                code=Code.RELOAD_IN_PROGRESS,
                retry_after_ms=RETRY_MS,
            )
        self._reloading = asyncio.ensure_future(Reload(self, said).run())
        self._reloading.add_done_callback(self._reloaded)
        error = await asyncio.shield(self._reloading)
        if error is not None:
            raise error

    async def stop(self, drain: float) -> None:
        """Refuse new requests, give the accepted ones `drain` seconds, end everything. May be
        called again, with less patience."""
        self.entrance.stop()
        again, self._stopping = self._stopping, True
        if self._reloading is not None:
            if not again:  # it ends what it has started, and must not be kept from that
                self._reloading.cancel()
            await asyncio.wait((self._reloading,))
        await asyncio.gather(*(one.replicas.stop(drain) for one in (self.present, *self.leaving)))
        for departure in list(self._departures):
            departure.cancel()
        for one in (self.present, *self.leaving):
            one.plan.pin.close()

    def retired(self, version: Version) -> None:
        """No new request will use this version of a plugin."""
        for one in self.all:
            one.replicas.retired(version)

    # -- for a reload ----------------------------------------------------------------------------

    def make(self, plan: Plan) -> Serving:
        return Serving(plan, self._changed, self._on_blame)

    def tell(self, status: ReloadStatus) -> None:
        self.last = status
        self._changed("model")

    def present_is(self, new: Serving) -> Serving:
        """Let `new` have all that comes from now on. Returns the one that had it before."""
        old, self.present, self.coming = self.present, new, None
        self.entrance.open(new)
        self._changed("model")
        self._changed("replicas")
        return old

    def let_leave(self, old: Serving) -> None:
        """It ends when it has answered what it has accepted."""
        self.leaving.append(old)
        departure = asyncio.ensure_future(self._leave(old))
        self._departures.add(departure)
        departure.add_done_callback(self._departures.discard)

    async def drained(self) -> None:
        """Wait until those that leave have left, and no request holds on to the present one."""
        while self._departures:
            await asyncio.wait(self._departures)
        await self.present.unheld()

    async def unload(self, old: Serving) -> None:
        """It has nothing to answer any more."""
        await old.replicas.stop(0)
        for status in old.replicas.replicas():
            served, loads = self._past
            self._past = (served + status.requests_served, loads + status.model_loads)

    async def _leave(self, old: Serving) -> None:
        await old.unheld()
        await self.unload(old)
        self.leaving.remove(old)
        old.plan.pin.close()
        self._changed("model")

    def _reloaded(self, task: asyncio.Task[GlmdError | None]) -> None:
        self._reloading = None

    def _changed(self, topic: str) -> None:
        self.entrance.look()
        self._on_change(topic)

    # -- facts ---------------------------------------------------------------------------------

    def failure(self) -> GlmdError | None:
        """Why nobody can serve; None while somebody can or may yet."""
        return None if self.entrance.closed else self.present.replicas.failure()

    @property
    def all(self) -> list[Serving]:
        coming = [self.coming] if self.coming is not None else []
        return [self.present, *self.leaving, *coming]

    @property
    def shown(self) -> Serving:
        """What `status` is about: the one that serves, or is to serve when none does."""
        closed = self.entrance.closed
        return self.coming if closed and self.coming is not None else self.present

    @property
    def queued(self) -> int:
        return self.entrance.waiting + sum(one.replicas.queued for one in self.all)

    @property
    def running(self) -> int:
        return sum(one.replicas.running for one in self.all)

    @property
    def requests_served(self) -> int:
        return self._past[0] + sum(one.requests_served for one in self._every_replica())

    @property
    def model_loads(self) -> int:
        return self._past[1] + sum(one.model_loads for one in self._every_replica())

    def _every_replica(self) -> list[ReplicaStatus]:
        return [replica for one in self.all for replica in one.replicas.replicas()]
