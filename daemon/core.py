"""The daemon's core: puts its parts together, serves until it is told to stop, takes them apart.

The event loop is never kept: models are loaded in engine children, text is tokenised and sessions
are written in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import zmq

import glmd
from glmd import facts, keys, paths, process
from glmd.daemon.config import resolve
from glmd.daemon.lifecycle.logs import open_log
from glmd.daemon.lifecycle.notify import Systemd
from glmd.daemon.lifecycle.signals import StopRequests
from glmd.daemon.lifecycle.starter import Starter
from glmd.daemon.models.models import Models
from glmd.daemon.models.plan import Plan, make_plan
from glmd.daemon.plugins.manager import Plugins
from glmd.daemon.request.requests import Requests
from glmd.daemon.server.answers import Answers
from glmd.daemon.server.server import Server
from glmd.daemon.sessions.store import SessionStore
from glmd.daemon.status import Describer
from glmd.errors import Busy, Code, DaemonError, GlmdError, InvalidRequest, StartFailed
from glmd.facts import DaemonFacts, State
from glmd.settings import DRAIN_SECONDS, DaemonSettings
from glmd.wire import PROTOCOL_MAX, PROTOCOL_MIN
from glmd.wire.replies import StatusReply
from glmd.wire.requests import Reload

log = logging.getLogger(__name__)

TEXT_THREADS = 2  # that tokenise; each one more makes the event loop wait longer for the GIL
TELL_INTERVAL = 0.1  # seconds between two words to the starter while the model loads
PLUGIN_PATIENCE = 5.0  # seconds that a start waits for plugins when the model is loaded
LAST_WORDS = 2.0  # seconds that readers get for their last messages when the requests are over


class Core:
    """One run of one daemon. The caller holds the lock. `facts` are written to a file with every
    change."""

    def __init__(self, plan: Plan, starter: Starter) -> None:
        self._config = config = plan.config
        self._starter = starter
        self._stop = StopRequests()
        self._systemd = Systemd()
        self.facts = _first_facts(plan)
        self._plugins = Plugins(
            config.plugin_dirs,
            safe_mode=config.safe_mode,
            daemon=self,
            on_change=lambda: self._changed("plugins"),
            retire=lambda version: self._models.retired(version),
        )
        self._models = Models(plan, on_change=self._changed, on_blame=self._plugins.blame)
        self._told = ("", "")  # path and identity of the model that plugins know of
        self._sessions = SessionStore(paths.sessions_file(config.name))
        self._describer = Describer(self._models, self._plugins, lambda: self.facts)
        self._topics = {
            "model": self._describer.model,
            "replicas": self._describer.replicas,
            "plugins": self._describer.plugins,
            "queue": self._describer.queue,
        }
        requests = Requests(self._models.entrance, self._sessions, self._plugins.samplers)
        self._server = Server(
            self.facts.server,
            self.facts.boot_id,
            requests,
            Answers(requests, self._sessions, self._plugins, self._reload),
            self._status,
            self._topics,
            config.max_queue,
        )

    async def run(self) -> None:
        """Serve until told to stop. Raises GlmdError when it cannot begin; nothing is left then."""
        self._systemd.watch()
        try:
            self._listen()
            self._say("loading")
            await self._load()
            self._say("ready")
            self._starter.settled(self.facts)
            self._systemd.ready()
            self._plugins.started()
            self._tell_plugins_of_the_model()
            log.info("Ready: %s.", self._models.present.replicas.placement.rstrip("."))
            await self._stop.asked.wait()
        finally:
            await self._end()

    def _listen(self) -> None:
        endpoints, public = [], ""
        socket = paths.socket_file(self._config.name)
        paths.check_socket_length(socket)
        endpoint = f"ipc://{socket}"
        try:
            endpoints.append(self._server.listen(socket))
            if endpoint := self._config.listen or "":
                pair = keys.own("daemon")
                endpoints.append(self._server.listen_tcp(endpoint, pair))
                public = pair.public.hex()
        except zmq.ZMQError as error:
            raise StartFailed(f"{endpoint} cannot be served: {error.strerror}.") from None
        self.facts = msgspec.structs.replace(self.facts, endpoints=endpoints, server_key=public)
        log.info("Listening at %s.", " and ".join(endpoints))

    async def _load(self) -> None:
        """Raises ModelError and EngineFailed, and DaemonError when told to stop meanwhile."""
        await self._models.start()
        self._starter.watch(self._stop.ask)
        plugins = self._plugins.start()
        teller = asyncio.ensure_future(self._tell_starter())
        ready = asyncio.ensure_future(self._models.present.replicas.ready())
        try:
            if not await self._before(self._stop.asked, ready):
                raise DaemonError(
                    "The daemon was told to stop while it was loading.", code=Code.STOPPING
                )
            ready.result()
            # One that holds its import up keeps nobody waiting for long.
            await asyncio.wait([plugins], timeout=PLUGIN_PATIENCE)
        finally:
            ready.cancel()
            teller.cancel()

    async def _tell_starter(self) -> None:
        while True:
            self._starter.loading(*self._models.present.replicas.loading)
            await asyncio.sleep(TELL_INTERVAL)

    async def _end(self) -> None:
        log.info("Stopping: %d requests run, %d wait.", self._models.running, self._models.queued)
        patience = DRAIN_SECONDS if self.facts.state == "ready" else 0.0
        self._say("stopping")
        self._systemd.stopping()
        self._server.refuse_new()
        drain = asyncio.ensure_future(self._models.stop(patience))
        if not await self._before(self._stop.insisted, drain):
            await self._models.stop(0.0)
            await drain
        readers = asyncio.ensure_future(self._server.finish(LAST_WORDS))
        if not await self._before(self._stop.insisted, readers):
            readers.cancel()
        self._server.close()
        await self._plugins.stop()
        await self._sessions.close()
        self._systemd.close()
        paths.socket_file(self._config.name).unlink(missing_ok=True)
        facts.remove(self._config.name)
        log.info("Stopped.")

    async def _before(self, event: asyncio.Event, work: asyncio.Future[None]) -> bool:
        """Wait for either; whether `work` was done before `event` was set."""
        happened = asyncio.ensure_future(event.wait())
        await asyncio.wait((work, happened), return_when=asyncio.FIRST_COMPLETED)
        happened.cancel()
        return work.done()

    def _say(self, state: State, **why: str) -> None:
        self.facts = msgspec.structs.replace(self.facts, state=state, **why)
        try:
            facts.write(self.facts)
        except OSError as error:
            problem = f"{paths.facts_file(self.facts.name)} cannot be written: {error.strerror}."
            if state in {"loading", "ready"}:
                raise StartFailed(problem, hint="GLMD_RUNTIME_DIR moves it.") from None
            log.error(problem)
        self._systemd.status(state)
        self._changed("model")

    def _changed(self, topic: str) -> None:
        # While it loads for the first time, a failure ends the daemon.
        if self.facts.state in {"ready", "failed"}:
            now = self._facts_now()
            if now != self.facts:
                self.facts = now
                self._say(now.state)
            self._tell_plugins_of_the_model()
        self._server.changed()
        self._plugins.changed()

    def _status(self, request_id: str) -> StatusReply:
        return self._describer.status(request_id, self._server.clients, self._server.clients_served)

    def _tell_plugins_of_the_model(self) -> None:
        plan = self._models.present.plan
        if plan.pin.identity != self._told[1]:
            old, self._told = self._told[0], (str(plan.config.model), plan.pin.identity)
            self._plugins.model_changed(old, self._told[0])

    def _facts_now(self) -> DaemonFacts:
        """What serves, or why nothing does any more."""
        plan, failure = self._models.present.plan, self._models.failure()
        return msgspec.structs.replace(
            self.facts,
            state="failed" if failure else "ready",
            said=plan.said,
            model=str(plan.config.model),
            backend=plan.config.backend,
            devices=plan.config.chips,
            code=failure.wire_code if failure else "",
            error=failure.message if failure else "",
            hint=failure.hint if failure else "",
        )

    async def _reload(self, request: Reload) -> StatusReply:
        """Raises what keeps the model from serving."""
        if self.facts.state not in {"ready", "failed"}:
            raise Busy(f"The daemon is {self.facts.state}.", code=Code.RELOAD_IN_PROGRESS)
        given = {name: getattr(request, name) for name in ("model", "mode", "tokenizer")}
        said = {name: value for name, value in given.items() if value is not None}
        await self._models.reload(msgspec.structs.replace(self._models.present.plan.said, **said))
        return self._status(request.id)

    # -- what plugins may do ---------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        facts: dict[str, Any] = msgspec.to_builtins(self._status(""))
        return facts

    async def reload_model(self, model: str | None) -> None:
        await self._reload(Reload(id="", model=model))

    def topic(self, name: str) -> dict[str, Any]:
        if name not in self._topics:
            topics = ", ".join(self._topics)
            raise InvalidRequest(f"There is no topic {name!r}; there are {topics}.")
        return self._topics[name]()


async def serve(said: DaemonSettings, starter: Starter) -> None:
    """Run the daemon these settings ask for, until it is told to stop. Raises GlmdError when it
    cannot serve."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(TEXT_THREADS))
    config = resolve(said)
    open_log(config.name, config.log_level, also_stderr=not starter.waits)
    if (left := facts.read(config.name)) is not None:
        log.warning("The previous daemon (pid %d) ended without a word.", left.pid)
    log.info("glmd %s, model %s on %s.", glmd.__version__, config.model, config.backend)
    plan = await asyncio.to_thread(make_plan, said)
    await Core(plan, starter).run()


def failed_facts(name: str, error: GlmdError) -> DaemonFacts:
    """Leave word of a failed start, for others who wait for it."""
    pid = os.getpid()
    left = DaemonFacts(
        name=name,
        pid=pid,
        started=process.start_ticks(pid) or 0,
        boot_id="",
        server=glmd.__version__,
        protocol=(PROTOCOL_MIN, PROTOCOL_MAX),
        state="failed",
        endpoints=[],
        model="",
        backend="",
        log=str(paths.log_file(name)),
        code="" if error.code is None else error.code.value,
        error=error.message,
        hint=error.hint,
    )
    facts.write(left)
    return left


def _first_facts(plan: Plan) -> DaemonFacts:
    pid, config = os.getpid(), plan.config
    return DaemonFacts(
        name=config.name,
        pid=pid,
        started=process.start_ticks(pid) or 0,
        boot_id=uuid.uuid4().hex,
        server=glmd.__version__,
        protocol=(PROTOCOL_MIN, PROTOCOL_MAX),
        state="loading",
        endpoints=[],
        model=str(config.model),
        backend=config.backend,
        devices=config.chips,
        log=str(paths.log_file(config.name)),
        said=plan.said,
    )
