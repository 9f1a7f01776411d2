"""One engine child after another, and the requests it serves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Literal, Protocol

import psutil
from msgspec.structs import replace

from glmd.control import command
from glmd.daemon.engine import transport
from glmd.daemon.engine.messages import (
    AnyEvent,
    Broken,
    Cancel,
    Failed,
    Load,
    Loading,
    Prefilled,
    PromptLogprobs,
    Ready,
    Report,
    Step,
    Stop,
)
from glmd.daemon.plugins.version import Version
from glmd.daemon.pool.child import KILLED, Child
from glmd.daemon.pool.deaths import Deaths
from glmd.daemon.pool.grammar import count
from glmd.daemon.pool.pins import Pins
from glmd.daemon.pool.spec import ALONE, Beside, Files, Timeouts
from glmd.daemon.pool.ticket import Ticket
from glmd.errors import Code, EngineFailed, GlmdError, ModelError, from_wire
from glmd.wire.replies import DeviceStatus, ReplicaStatus

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "restarting", "failed", "stopped"]


class ReplicaOwner(Protocol):
    def state_changed(self, replica: Replica) -> None: ...

    def freed(self, seconds: float | None) -> None:
        """There are slots again. `seconds`: how long the request took that has ended, if one
        has."""

    def blame(self, version: Version, what: str, *, crashed: bool) -> None:
        """A request has failed in this plugin's code, or the engine died in it."""


class Replica:
    """Keeps an engine child alive. When it dies the next one gets its requests, with the tokens
    they have already given; when it dies too often they fail, and so does the replica."""

    def __init__(
        self,
        index: int,
        load: Load,
        timeouts: Timeouts,
        owner: ReplicaOwner,
        daemon: str,
        vocabulary: Sequence[bytes] = (),
        files: Files | None = None,
    ) -> None:
        self.index = index
        self.state: State = "loading"
        self.model: Ready | None = None
        self.error: GlmdError | None = None
        self.progress = (0, 0)  # bytes of weights read, of all
        self._load = load
        self._timeouts = timeouts
        self._owner = owner
        self._daemon = daemon
        self._vocabulary = vocabulary
        self._files = files
        self._child: Child[AnyEvent] | None = None
        self._pins: Pins | None = None
        self._stuck = False  # in a plugin's code, and therefore ended
        self._gone = asyncio.Event()
        self._tickets: dict[int, Ticket] = {}
        self._deaths = Deaths()
        self._heard = 0.0
        self._report = Report(slots_busy=0)
        self._served = 0
        self._loads = 0

    # -- requests ------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Slots that a new request can have at once."""
        if self.state != "ready" or self.model is None:
            return 0
        return self.model.slots - self._busy

    @property
    def running(self) -> int:
        return len(self._tickets)

    @property
    def _busy(self) -> int:
        return sum(len(ticket.answers) for ticket in self._tickets.values())

    def submit(self, ticket: Ticket) -> None:
        if not self._tickets:
            self._heard = time.monotonic()
        self._tickets[ticket.id] = ticket
        ticket.started = ticket.started or time.monotonic()
        if self._child and self._pins:
            self._pins.give(self._child, ticket.job.plugins.values())
            self._child.send(ticket.command())

    def cancel(self, ticket: Ticket, choice: int | None) -> None:
        if ticket.id not in self._tickets or not ticket.drop(choice):
            return
        if self._child and self.state == "ready":
            self._child.send(Cancel(ticket.id, choice))
        self._settle(ticket)

    def fail_all(self, error: GlmdError) -> None:
        tickets, self._tickets = list(self._tickets.values()), {}
        for ticket in tickets:
            ticket.failed(error)

    def _settle(self, ticket: Ticket) -> None:
        """A choice has ended, and with the last one the ticket."""
        seconds = None
        if not ticket.answers and self._tickets.pop(ticket.id, None) is not None:
            self._served += 1
            seconds = time.monotonic() - ticket.started
            if ticket.job.plugins:
                self.take_back_plugins()
        self._owner.freed(seconds)

    def take_back_plugins(self) -> None:
        """Have the child forget plugins that nothing here needs any more."""
        if self._child and self._pins:
            needed = [v for t in self._tickets.values() for v in t.job.plugins.values()]
            self._pins.take_back(self._child, needed)

    # -- the child -----------------------------------------------------------------------------

    def start(self, beside: Beside = ALONE) -> None:
        self._heard = time.monotonic()
        self.progress = (0, 0)
        self._stuck = False
        self._gone.clear()
        try:
            load = self._located()
            self._pins = Pins(self._vocabulary)
            self._child = Child(
                f"engine {self.index}",
                "glmd.daemon.engine",
                transport.events(),
                self,
                shared=[self._pins.page.fd],
            )
        except ModelError as error:
            asyncio.get_running_loop().call_soon(self._give_up, error)
            return
        except OSError as error:
            asyncio.get_running_loop().call_soon(self.gone, f"could not be started: {error}")
            return
        self._child.send(replace(load, reserved=beside.reserved, fewest=beside.slots))
        self._load = replace(self._load, sharing=1)  # the next child will load alone
        self._owner.state_changed(self)

    def _located(self) -> Load:
        """The load, with the model's files where they are now. Raises ModelError."""
        if self._files is None:
            return self._load
        path = str(self._files.path())
        return replace(self._load, model=path, identity=self._files.identity)

    async def stop(self) -> None:
        """End the child; it is gone when this returns. What still runs on it ends unanswered."""
        self._become("stopped")
        if self._child is None:
            return
        self._child.send(Stop())
        try:
            await asyncio.wait_for(self._gone.wait(), self._timeouts.stop)
        except asyncio.TimeoutError:
            if self._child:
                self._child.kill()
            await self._gone.wait()

    def tick(self) -> None:
        """Called a few times a second: watch over the child, keep those who wait informed."""
        for ticket in list(self._tickets.values()):
            ticket.works()
        if self._child is None or self.state in {"failed", "stopped"}:
            return
        if self._pins and (culprit := self._pins.stuck(self._timeouts.plugin)):
            log.error("Engine %d does not come out of the plugin %s.", self.index, culprit.name)
            self._stuck = True
            self._child.kill()
            return
        limit = self._patience()
        if limit is not None and time.monotonic() - self._heard > limit:
            log.error("Engine %d has been silent for %.0f s and is ended.", self.index, limit)
            self._heard = time.monotonic()
            self._child.kill()

    def _patience(self) -> float | None:
        """Seconds of silence that are normal; None when there is nothing to be heard."""
        if self.state != "ready":
            return self._timeouts.load
        if not self._tickets:
            return None
        quiet = any(ticket.quiet for ticket in self._tickets.values())
        return self._timeouts.prefill if quiet else self._timeouts.decode

    def happened(self, event: AnyEvent) -> None:
        if self.state in {"failed", "stopped"}:
            return  # its last words change nothing
        self._heard = time.monotonic()
        if isinstance(event, Step):
            for token in event.tokens:
                if ticket := self._tickets.get(token.id):
                    ticket.token(token)
                    if token.finish:
                        self._settle(ticket)
        elif isinstance(event, Prefilled):
            if ticket := self._tickets.get(event.id):
                ticket.prefilled(event.done, event.total, event.cached)
        elif isinstance(event, PromptLogprobs):
            if ticket := self._tickets.get(event.id):
                ticket.scored(event)
        elif isinstance(event, Failed):
            if ticket := self._tickets.get(event.id):
                ticket.failed(
                    from_wire(event.code, event.message, hint=event.hint, plugin=event.plugin)
                )
                for version in set(ticket.job.plugins.values()):
                    if version.name == event.plugin:
                        self._owner.blame(version, event.message, crashed=False)
                self._settle(ticket)
        elif isinstance(event, Report):
            self._report = event
        elif isinstance(event, Loading):
            self.progress = (event.done, event.total)
        elif isinstance(event, Ready):
            self._ready(event)
        else:
            self._broken(event)

    def _ready(self, event: Ready) -> None:
        self.model = event
        self._loads += 1
        self._deaths.ready(time.monotonic())
        for ticket in list(self._tickets.values()):
            self.submit(ticket)
        self._become("ready")

    def _broken(self, event: Broken) -> None:
        """The model cannot be loaded; another try would end the same way."""
        self._give_up(from_wire(event.code, event.message, hint=event.hint))

    def gone(self, how: str) -> None:
        culprit = self._pins.culprit() if self._pins else None
        if self._pins:
            self._pins.page.close()
        self._child = self._pins = None
        self._gone.set()
        if self.state in {"failed", "stopped"}:
            log.info("Engine %d %s.", self.index, how)
        else:
            self._died(how, culprit)

    def _died(self, how: str, culprit: Version | None) -> None:
        requests = count(self.running, "request", "was")
        log.warning("Engine %d %s; %s on it.", self.index, how, requests)
        if culprit:
            what = f"The engine {how} in code of the plugin {culprit.name}."
            # No mistake in a program ends in SIGKILL: it comes from outside, mostly for want of
            # memory, and who was hit may be chance.
            self._owner.blame(culprit, what, crashed=self._stuck or how != KILLED)
        # What is quarantined will not be run again, so its death says nothing about the next child.
        if not (culprit and culprit.quarantined) and self._deaths.died(time.monotonic()):
            self._give_up(
                EngineFailed(
                    f"Engine {self.index} {how}, once too often.",
                    hint=f"`{command('logs', self._daemon)}` shows what it said; "
                    f"`{command('restart', self._daemon)}` tries again.",
                    code=Code.ENGINE_DIED,
                )
            )
            return
        self._fail_unrepeatable(how)
        for ticket in self._tickets.values():
            ticket.interrupted()
        self._become("restarting")
        self.start()

    def _fail_unrepeatable(self, how: str) -> None:
        """End the requests that another child must not, or cannot, go on with."""
        for ticket in list(self._tickets.values()):
            error = ticket.job.lost
            version = ticket.job.unrepeatable
            if error is None and version and ticket.begun:
                error = EngineFailed(
                    f"Engine {self.index} {how}, and an answer of the plugin {version.name} cannot "
                    "be taken up again.",
                    hint="Ask again.",
                    code=Code.ENGINE_DIED,
                    plugin=version.name,
                )
            if error is not None:
                del self._tickets[ticket.id]
                ticket.failed(error)

    def _give_up(self, error: GlmdError) -> None:
        log.error("Engine %d is given up: %s", self.index, error.message)
        self.error = error
        self.fail_all(error)
        self._become("failed")

    def _become(self, state: State) -> None:
        self.state = state
        self._owner.state_changed(self)

    # -- status --------------------------------------------------------------------------------

    @property
    def promised(self) -> int:
        """Bytes that the child may still come to take: the weights and the KV cache it has planned
        with, less what is resident. A chip has memory of its own."""
        if self.model is None or self._child is None or self.model.backend != "cpu":
            return 0
        planned = self.model.model_bytes + self.model.kv_bytes
        return max(0, planned - _resident(self._child))

    def status(self) -> ReplicaStatus:
        return ReplicaStatus(
            index=self.index,
            state=self.state,
            pid=self._child.pid if self._child else None,
            devices=[_device(facts) for facts in self._report.devices],
            slots=self.model.slots if self.model else 0,
            slots_busy=self._busy,
            requests_served=self._served,
            model_loads=self._loads,
            memory=_resident(self._child),
            decodes=self._report.decodes,
            error=str(self.error or ""),
        )


def _device(facts: dict[str, float]) -> DeviceStatus:
    def whole(name: str) -> int | None:
        return int(facts[name]) if name in facts else None

    return DeviceStatus(
        device=int(facts["device"]),
        memory_total=whole("memory_total"),
        memory_used=whole("memory_used"),
        utilisation=facts.get("utilisation"),
        temperature=facts.get("temperature"),
    )


def _resident(child: Child[AnyEvent] | None) -> int:
    try:
        return int(psutil.Process(child.pid).memory_info().rss) if child else 0
    except psutil.Error:
        return 0
