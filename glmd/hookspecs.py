"""The hooks. A plugin is a module or object with some of these functions, marked `@glmd.hookimpl`.

Hooks register objects and report events; the token loop never calls one. Plugins are imported in
the plugin-host child and (for samplers) in the engine children, never in the core process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from glmd.sampler import Sampler
    from glmd.tool import RunnableTool

NAMESPACE = "glmd"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


class DaemonHandle(Protocol):
    """What a plugin may do with the daemon that runs it."""

    def status(self) -> dict[str, Any]: ...

    def reload(self, model: str | None = None) -> None: ...

    def subscribe(self, topic: str, callback: Callable[[dict[str, Any]], None]) -> None: ...


@hookspec
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    """Call `register` with each sampler. Runs when the plugin is loaded, in the plugin host and in
    every engine child. Must not start threads or touch devices."""


@hookspec
def glmd_register_tools(register: Callable[[RunnableTool], None]) -> None:
    """Call `register` with each tool. Runs when the plugin is loaded, in the plugin host."""


@hookspec
def glmd_register_tool_parsers(register: Callable[[Any], None]) -> None:
    """Call `register` with each parser of tool calls. Runs in the core, so it is called for
    installed packages only."""


@hookspec
def glmd_register_backends(register: Callable[[Any], None]) -> None:
    """Call `register` with each backend factory. Runs in the engine children, and only for
    installed packages."""


@hookspec
def glmd_register_commands(group: Any) -> None:
    """Add click commands to the `glmd` command. Runs in the CLI, for installed packages only."""


@hookspec
def glmd_daemon_started(daemon: DaemonHandle) -> None:
    """The daemon serves. Runs in the plugin host; must return within its time budget."""


@hookspec
def glmd_daemon_stopping() -> None:
    """The daemon is about to end. Runs in the plugin host; has one second."""


@hookspec
def glmd_model_changed(old: str, new: str) -> None:
    """Another model serves now. Runs in the plugin host. `old` is "" for the first."""
