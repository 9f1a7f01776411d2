"""The daemon's core: puts its parts together, serves until it is told to stop, takes them apart.

The event loop is never kept: models are loaded in engine children, text is tokenised and sessions
are written in threads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import zmq

import glmd
from glmd import facts, keys, paths, process
from glmd.checkpoint.source import open_model
from glmd.daemon.config import Config, resolve
from glmd.daemon.lifecycle.logs import open_log
from glmd.daemon.lifecycle.notify import Systemd
from glmd.daemon.lifecycle.signals import StopRequests
from glmd.daemon.lifecycle.starter import Starter
from glmd.daemon.plugins.manager import Plugins
from glmd.daemon.pool.pool import Pool
from glmd.daemon.pool.spec import PoolSpec
from glmd.daemon.request.requests import Requests
from glmd.daemon.server.answers import Answers
from glmd.daemon.server.server import Server
from glmd.daemon.sessions.store import SessionStore
from glmd.daemon.status import Describer
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import Code, DaemonError, GlmdError, InvalidRequest, StartFailed, Unsupported
from glmd.facts import DaemonFacts, State
from glmd.settings import DRAIN_SECONDS, DaemonSettings
from glmd.wire import PROTOCOL_MAX, PROTOCOL_MIN
from glmd.wire.replies import StatusReply

log = logging.getLogger(__name__)

TEXT_THREADS = 2  # that tokenise; each one more makes the event loop wait longer for the GIL
TELL_INTERVAL = 0.1  # seconds between two words to the starter while the model loads
PLUGIN_PATIENCE = 5.0  # seconds that a start waits for plugins when the model is loaded
LAST_WORDS = 2.0  # seconds that readers get for their last messages when the requests are over


class Core:
    """One run of one daemon. The caller holds the lock. `facts` are written to a file with every
    change."""

    def __init__(self, config: Config, tokenizer: Tokenizer, starter: Starter) -> None:
        self._config = config
        self._starter = starter
        self._stop = StopRequests()
        self._systemd = Systemd()
        self.facts = _first_facts(config)
        self._plugins = Plugins(
            config.plugin_dirs,
            safe_mode=config.safe_mode,
            daemon=self,
            on_change=lambda: self._changed("plugins"),
            retire=lambda version: self._pool.retired(version),
        )
        self._pool = Pool(
            _spec(config, tokenizer.vocab_bytes),
            on_change=self._changed,
            on_blame=self._plugins.blame,
        )
        self._sessions = SessionStore(paths.sessions_file(config.name))
        self._describer = Describer(config, self._pool, self._plugins, lambda: self.facts)
        self._topics = {
            "model": self._describer.model,
            "replicas": self._describer.replicas,
            "plugins": self._describer.plugins,
            "queue": self._describer.queue,
        }
        requests = Requests(tokenizer, self._pool, self._sessions, lambda: self._plugins.snapshot)
        self._server = Server(
            self.facts.server,
            self.facts.boot_id,
            requests,
            Answers(requests, self._sessions, self._plugins),
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
            log.info("Ready: %s.", self._pool.placement.rstrip("."))
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
        await self._pool.start()
        self._starter.watch(self._stop.ask)
        plugins = self._plugins.start()
        teller = asyncio.ensure_future(self._tell_starter())
        ready = asyncio.ensure_future(self._pool.ready())
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
            self._starter.loading(*self._pool.loading)
            await asyncio.sleep(TELL_INTERVAL)

    async def _end(self) -> None:
        log.info("Stopping: %d requests run, %d wait.", self._pool.running, self._pool.queued)
        patience = DRAIN_SECONDS if self.facts.state == "ready" else 0.0
        self._say("stopping")
        self._systemd.stopping()
        self._server.refuse_new()
        drain = asyncio.ensure_future(self._pool.stop(patience))
        if not await self._before(self._stop.insisted, drain):
            await self._pool.stop(0.0)
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
        # While it loads, a failure ends the daemon.
        if self.facts.state == "ready" and (failure := self._pool.failure()):
            code, error, hint = failure.wire_code, failure.message, failure.hint
            self._say("failed", code=code, error=error, hint=hint)
        self._server.changed()
        self._plugins.changed()

    def _status(self, request_id: str) -> StatusReply:
        return self._describer.status(request_id, self._server.clients, self._server.clients_served)

    # -- what plugins may do ---------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        facts: dict[str, Any] = msgspec.to_builtins(self._status(""))
        return facts

    async def reload_model(self, model: str | None) -> None:
        raise Unsupported("This version cannot change its model.", hint="Restart the daemon.")

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
    tokenizer = await asyncio.to_thread(_read_tokenizer, config)
    await Core(config, tokenizer, starter).run()


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


def _read_tokenizer(config: Config) -> Tokenizer:
    """The model's tokenizer, after a look at the model itself: what is wrong with its files is said
    before an engine child has to. Raises ModelError."""
    model = open_model(config.model)
    if config.tokenizer is not None:
        tokenizer = Tokenizer.load(config.tokenizer)
    else:
        tokenizer = Tokenizer(model.tokenizer(), f"of {config.model}")
    tokenizer.check_fits(model.config.padded_vocab_size)
    return tokenizer


def _first_facts(config: Config) -> DaemonFacts:
    pid = os.getpid()
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
        log=str(paths.log_file(config.name)),
    )


def _spec(config: Config, vocabulary: Sequence[bytes]) -> PoolSpec:
    return PoolSpec(
        name=config.name,
        model=config.model,
        backend=config.backend,
        mode=config.mode,
        context=config.context,
        slots=config.slots,
        threads=config.threads,
        replicas=config.replicas,
        devices=config.devices,
        simulate=config.simulate,
        max_queue=config.max_queue,
        vocabulary=vocabulary,
        plugin_memory=config.plugin_memory << 20,
    )
