"""Plugins that live in the plugin host: tools that are run, hooks that are called."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from glmd.daemon.plugins.checking import reason
from glmd.daemon.plugins.handle import Handle, Line
from glmd.daemon.plugins.messages import (
    Adopt,
    Adopted,
    Answer,
    AnyHostCommand,
    Dismiss,
    Fact,
    HookFailed,
    HostEvent,
    Leave,
    ModelChanged,
    RunTool,
    Started,
    ToolDone,
)
from glmd.errors import GlmdError
from glmd.loading import Loaded, load
from glmd.tool import RunnableTool
from glmd.validation import explain

HOOK_SECONDS = 5.0  # that a hook may take
LEAVE_SECONDS = 1.0  # that all glmd_daemon_stopping have together


@dataclass
class Guest:
    loaded: Loaded
    handle: Handle


class Hosting:
    """Obeys in the thread that reads the socket; plugins' code other than their import runs in
    threads of its own. `put` sends an event, from any thread."""

    def __init__(self, put: Callable[[HostEvent], None]) -> None:
        self._put = put
        self._line = Line(put)
        self._guests: dict[int, Guest] = {}
        self._started = False

    def obey(self, command: AnyHostCommand) -> None:
        match command:
            case Adopt(number=number, source=source):
                self._adopt(number, source)
            case Dismiss(number=number):
                self._dismiss(number)
            case RunTool():
                self._run_tool(command)
            case Started():
                self._started = True
                for number, guest in self._guests.items():
                    self._call(number, guest, "glmd_daemon_started", daemon=guest.handle)
            case ModelChanged(old=old, new=new):
                for number, guest in self._guests.items():
                    self._call(number, guest, "glmd_model_changed", old=old, new=new)
            case Answer():
                self._line.answered(command)
            case Fact():
                self._line.fact(command)
            case Leave():
                self._leave()

    def _adopt(self, number: int, source: Any) -> None:
        try:
            loaded = load(source)
        except BaseException as error:
            self._put(Adopted(number, reason(error, source.path)))
            return
        guest = self._guests[number] = Guest(loaded, self._line.handle())
        self._put(Adopted(number))
        if self._started:
            self._call(number, guest, "glmd_daemon_started", daemon=guest.handle)

    def _dismiss(self, number: int) -> None:
        """To the plugin it is as if the daemon stopped."""
        guest = self._guests.pop(number, None)
        if guest is not None:
            self._line.hang_up(guest.handle)
            self._call(number, guest, "glmd_daemon_stopping")
            guest.loaded.unload()

    def _leave(self) -> None:
        threads = [
            self._call(number, guest, "glmd_daemon_stopping")
            for number, guest in self._guests.items()
        ]
        deadline = time.monotonic() + LEAVE_SECONDS
        for thread in filter(None, threads):
            thread.join(max(deadline - time.monotonic(), 0.0))
        raise SystemExit(0)

    # -- hooks -----------------------------------------------------------------------------------

    def _call(
        self, number: int, guest: Guest, hook: str, **arguments: Any
    ) -> threading.Thread | None:
        """Call a plugin's hook in a thread of its own, if it has that hook."""
        if hook not in guest.loaded.hooks:
            return None
        call = getattr(guest.loaded.manager.hook, hook)
        late = threading.Timer(
            HOOK_SECONDS, self._hook_failed, (number, f"{hook} has taken {HOOK_SECONDS:.0f} s.")
        )
        late.daemon = True

        def run() -> None:
            late.start()
            try:
                call(**arguments)
            except BaseException as error:
                why = reason(error, guest.loaded.source.path)
                self._hook_failed(number, f"{hook} failed: {why}")
            finally:
                late.cancel()

        thread = threading.Thread(target=run, name=hook, daemon=True)
        thread.start()
        return thread

    def _hook_failed(self, number: int, message: str) -> None:
        self._put(HookFailed(number, message))

    # -- tools -----------------------------------------------------------------------------------

    def _run_tool(self, command: RunTool) -> None:
        guest = self._guests.get(command.number)
        tool = guest.loaded.tools.get(command.tool) if guest else None
        if guest is None or tool is None:
            self._put(ToolDone(command.id, f"There is no tool {command.tool}.", failed=True))
            return
        seconds = float(getattr(tool, "timeout", RunnableTool.timeout))
        answered = threading.Lock()

        def done(text: str, failed: bool) -> None:
            if answered.acquire(blocking=False):  # the first word counts
                self._put(ToolDone(command.id, text, failed))

        late = threading.Timer(
            seconds, done, (f"{command.tool} had not come to an end after {seconds:g} s.", True)
        )
        late.daemon = True

        def run() -> None:
            late.start()
            try:
                done(_observation(tool, command.arguments), False)
            except msgspec.ValidationError as error:
                done(explain(error, tool.Params, command.arguments), True)
            except GlmdError as error:
                done(error.message, True)
            except BaseException as error:
                done(f"{type(error).__name__}: {error}", True)
            finally:
                late.cancel()

        threading.Thread(target=run, name=command.tool, daemon=True).start()


def _observation(tool: RunnableTool, arguments: dict[str, Any]) -> str:
    text = tool.run(msgspec.convert(arguments, tool.Params))
    if not isinstance(text, str):
        raise TypeError(f"the tool {tool.name} gave {type(text).__name__}, not text")
    return text
