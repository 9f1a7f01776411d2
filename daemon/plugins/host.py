"""The plugin host as the core sees it: the child in which tools run and hooks are called."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from glmd.daemon.engine import transport
from glmd.daemon.plugins.checker import MODULE
from glmd.daemon.plugins.messages import (
    Adopt,
    Adopted,
    Answer,
    AnyHostEvent,
    Asked,
    Dismiss,
    Fact,
    HookFailed,
    HostCommand,
    Leave,
    Listening,
    ModelChanged,
    RunTool,
    Started,
    ToolDone,
)
from glmd.daemon.plugins.version import Version
from glmd.daemon.pool.child import Child
from glmd.daemon.pool.deaths import Deaths
from glmd.errors import GlmdError
from glmd.loading import CHECK_SECONDS

STOP_SECONDS = 1.5  # that the child has to leave: a second is the plugins'

log = logging.getLogger(__name__)


class Daemon(Protocol):
    """What plugins may do with the daemon."""

    def status(self) -> dict[str, Any]: ...

    async def reload_model(self, model: str | None) -> None:
        """Raises GlmdError."""

    def topic(self, name: str) -> dict[str, Any]:
        """The facts of a topic that can be subscribed to. Raises GlmdError for another."""


class PluginHost:
    """Starts the child with the first plugin that needs one, and again when it dies, up to three
    times within a minute of service. `on_trouble` hears of hooks that fail."""

    def __init__(self, daemon: Daemon, on_trouble: Callable[[Version, str], None]) -> None:
        self._daemon = daemon
        self._on_trouble = on_trouble
        self._child: Child[AnyHostEvent] | None = None
        self._guests: dict[int, Version] = {}
        self._adopting: dict[int, asyncio.Future[str]] = {}
        self._running: dict[int, tuple[str, asyncio.Future[ToolDone]]] = {}
        self._ids = itertools.count(1)
        self._told: dict[str, dict[str, Any] | None] = {}  # facts by topic that is listened to
        self._tasks: set[asyncio.Task[None]] = set()
        self._deaths = Deaths()
        self._serving = False
        self._stopping = False
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    async def adopt(self, version: Version) -> str:
        """Have the plugin in the host; why it is not, "" when it is."""
        answer = self._adopting[version.number] = asyncio.get_running_loop().create_future()
        self._guests[version.number] = version
        try:
            if self._child is None:
                self._start()
            else:
                self._child.send(Adopt(version.number, version.source))
            error: str = await asyncio.wait_for(answer, CHECK_SECONDS)
        except asyncio.TimeoutError:
            self._guests.pop(version.number, None)
            if self._child is not None:
                self._child.kill()
            return f"Its import in the plugin host had not ended after {CHECK_SECONDS:.0f} s."
        except OSError as failure:
            error = f"The plugin host cannot be started: {failure.strerror}."
        finally:
            self._adopting.pop(version.number, None)
        if error:
            self._guests.pop(version.number, None)
        return error

    def dismiss(self, version: Version) -> None:
        if self._guests.pop(version.number, None) is not None:
            self._send(Dismiss(version.number))

    async def run_tool(self, version: Version, tool: str, arguments: dict[str, Any]) -> ToolDone:
        """Run a tool of an adopted plugin; what the model is to be told. The host sees to the
        tool's time-out."""
        number = next(self._ids)
        answer: asyncio.Future[ToolDone] = asyncio.get_running_loop().create_future()
        if self._child is None:
            return ToolDone(number, "The plugin host does not run.", failed=True)
        self._running[number] = tool, answer
        try:
            self._child.send(RunTool(number, version.number, tool, arguments))
            return await answer
        finally:
            self._running.pop(number, None)

    def started(self) -> None:
        """The daemon serves."""
        self._serving = True
        self._send(Started())

    def model_changed(self, old: str, new: str) -> None:
        self._send(ModelChanged(old, new))

    def changed(self) -> None:
        """Some fact may be different now."""
        for topic, known in self._told.items():
            facts = self._daemon.topic(topic)
            if facts != known:
                self._told[topic] = facts
                self._send(Fact(topic, facts))

    async def stop(self) -> None:
        """End the child; it is gone when this returns."""
        self._stopping = True
        self._send(Leave())
        try:
            await asyncio.wait_for(self._ended.wait(), STOP_SECONDS)
        except asyncio.TimeoutError:
            if self._child is not None:
                self._child.kill()
            await self._ended.wait()
        for task in self._tasks:
            task.cancel()

    # -- the child -------------------------------------------------------------------------------

    def _start(self) -> None:
        decoder = transport.Decoder(msgspec.msgpack.Decoder(AnyHostEvent))
        self._child = Child("plugin host", MODULE, decoder, self)
        self._ended.clear()
        self._deaths.ready(time.monotonic())
        for version in self._guests.values():
            self._child.send(Adopt(version.number, version.source))
        if self._serving:
            self._child.send(Started())

    def _send(self, command: HostCommand) -> None:
        if self._child is not None:
            self._child.send(command)

    def happened(self, event: AnyHostEvent) -> None:
        match event:
            case Adopted(number=number, error=error):
                if (adopting := self._adopting.get(number)) and not adopting.done():
                    adopting.set_result(error)
            case ToolDone(id=number):
                if (running := self._running.get(number)) and not running[1].done():
                    running[1].set_result(event)
            case HookFailed(number=number, message=message):
                if version := self._guests.get(number):
                    self._on_trouble(version, message)
            case Asked():
                self._answer(event)
            case Listening(topics=topics):
                self._told = {topic: self._told.get(topic) for topic in topics}
                self._try(self.changed)

    def gone(self, how: str) -> None:
        self._child = None
        self._ended.set()
        self._told = {}
        for adopting in self._adopting.values():
            if not adopting.done():
                adopting.set_result(f"It took the plugin host down, which {how}.")
        for number in self._adopting:
            self._guests.pop(number, None)
        for number, (tool, running) in self._running.items():
            if not running.done():
                text = f"The plugin host {how} while {tool} ran."
                running.set_result(ToolDone(number, text, failed=True))
        if self._stopping:
            return
        log.warning("The plugin host %s.", how)
        if self._deaths.died(time.monotonic()):
            log.error("The plugin host is given up: it died too often.")
            for version in self._guests.values():
                self._on_trouble(version, "The plugin host died too often and is not started.")
        elif self._guests:
            self._try(self._start)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, GlmdError) as error:
            log.error("The plugin host: %s", error)

    # -- questions of plugins --------------------------------------------------------------------

    def _answer(self, asked: Asked) -> None:
        task = asyncio.get_running_loop().create_task(self._answered(asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answered(self, asked: Asked) -> None:
        try:
            data: dict[str, Any] = {}
            if asked.what == "status":
                data = self._daemon.status()
            else:
                await self._daemon.reload_model(asked.model)
            self._send(Answer(asked.id, data))
        except GlmdError as error:
            self._send(Answer(asked.id, error=error.message, hint=error.hint))
        except Exception as error:
            log.exception("A fault while answering a plugin.")
            self._send(Answer(asked.id, error=f"A fault inside the daemon: {error!r}."))
