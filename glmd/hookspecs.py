"""The hooks. A plugin is a module or object with some of these functions, marked `@glmd.hookimpl`.

Hooks register objects and report events; the token loop never calls one. A plugin is imported in a
child that looks it over, in the engine children when a request names one of its samplers, and in
the plugin host when it has tools or a hook that is called there; never in the core process.
Importing must have no effect but that: it happens several times, in several processes, and what
takes longer than ten seconds has failed.
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
    """What a plugin may do with the daemon that runs it, from any thread."""

    def status(self) -> dict[str, Any]:
        """The fields of the `status` reply, docs/protocol.md. Raises DaemonError when there is no
        answer."""

    def reload(self, model: str | None = None) -> None:
        """Have another model serve, or the same one as its files are now; returns when it does.
        Raises DaemonError when the old one still serves, with the reason."""

    def subscribe(self, topic: str, callback: Callable[[dict[str, Any]], None]) -> None:
        """Have `callback` called with the facts of a topic (model, replicas, plugins, queue), as
        they are now and whenever they have changed: in a thread that is this plugin's alone."""


@hookspec
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    """Call `register` with each sampler, made. Runs when the plugin is imported: to be looked over,
    in an engine child, in the plugin host. Must not start threads or touch devices."""


@hookspec
def glmd_register_tools(register: Callable[[RunnableTool], None]) -> None:
    """Call `register` with each tool, made. Runs when the plugin is imported: to be looked over, in
    the plugin host, in an engine child. The tools themselves run in the plugin host, each time in a
    thread of its own, and have the time that they say they need."""


@hookspec
def glmd_register_commands(group: Any) -> None:
    """Add click commands to the `glmd` command. Runs in the command line, for installed packages
    only, and only when a command is asked for that glmd itself does not have."""


@hookspec
def glmd_daemon_started(daemon: DaemonHandle) -> None:
    """The daemon serves, or it did already when this plugin was loaded. Runs in the plugin host, in
    a thread of its own; one that has not returned after five seconds is told of in `glmd plugins
    list`. May start threads, which must end with glmd_daemon_stopping."""


@hookspec
def glmd_daemon_stopping() -> None:
    """The daemon is about to end, or a newer version of this plugin has taken its place. Runs in
    the plugin host, in a thread of its own; all plugins together have one second."""


@hookspec
def glmd_model_changed(old: str, new: str) -> None:
    """Another model serves now, or the same path with other files. Runs in the plugin host, in a
    thread of its own. `old` and `new` are paths, `old` is "" for the first."""
