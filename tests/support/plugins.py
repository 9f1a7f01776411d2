"""Plugins written for a test, and what a running daemon makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import msgspec
from support.peer import Peer

from glmd import paths
from glmd.daemon.plugins.manager import Plugins
from glmd.daemon.plugins.version import Version
from glmd.daemon.pool import Pool
from glmd.errors import InvalidRequest, ModelError
from glmd.facts import DaemonFacts
from glmd.wire.replies import Event, Ok, PluginInfo
from glmd.wire.replies import Plugins as PluginList
from glmd.wire.requests import ListPlugins, ReloadPlugins, Subscribe


def sampler(
    name: str, apply: str = "pass", *, params: str = "pass", before: str = "", state: str = ""
) -> str:
    """The source of a plugin with one sampler. `apply`: the body of that method, which has
    `self.params` and `self.ctx`; `params`: the body of Params; `before`: lines of the module;
    `state`: further methods of the state."""
    return (
        dedent(
            f"""\
            import glmd
            import msgspec
            import numpy as np

            {{before}}

            class Given(glmd.Sampler):
                name = {name!r}

                class Params(msgspec.Struct):
            {{params}}

                def start(self, params, ctx):
                    return State(params, ctx)


            class State:
                def __init__(self, params, ctx):
                    self.params, self.ctx = params, ctx

                def apply(self, logits, history):
            {{apply}}

            {{state}}


            @glmd.hookimpl
            def glmd_register_samplers(register):
                register(Given())
            """
        )
        .replace("{before}", dedent(before))
        .replace("{params}", indent(dedent(params), " " * 8))
        .replace("{apply}", indent(dedent(apply), " " * 8))
        .replace("{state}", indent(dedent(state), " " * 4))
    )


def only(token: int | str) -> str:
    """The body of an apply that leaves nothing but one token."""
    return f"kept = logits[{token}]\nlogits[:] = -np.inf\nlogits[{token}] = kept"


def save(name: str, source: str, folder: Path | None = None) -> Path:
    """Write a plugin as an editor does that saves in place."""
    folder = folder or paths.plugins_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{name}.py"
    file.touch(mode=0o600)
    file.write_text(source, encoding="utf-8")
    return file


class Watcher:
    """What a daemon tells of its plugins. `seen`: every list it has sent."""

    def __init__(self, daemon: DaemonFacts) -> None:
        self._peer = Peer(daemon.endpoints[0])
        self._peer.ask(Subscribe(id="plugins", topics=["plugins"]), Ok)
        self.seen: list[dict[str, PluginInfo]] = []

    def until(self, name: str, accept: Callable[[PluginInfo], bool]) -> PluginInfo:
        """Wait until the daemon tells of a plugin in such a state."""
        while True:
            for plugins in self.seen[-1:]:
                if name in plugins and accept(plugins[name]):
                    return plugins[name]
            self.hear()

    def loaded(self, name: str, sha256: str = "") -> PluginInfo:
        return self.until(
            name, lambda p: p.state == "loaded" and not p.error and sha256 in ("", p.sha256)
        )

    def hear(self) -> None:
        event = self._peer.expect(Event)
        plugins = msgspec.convert(event.data["plugins"], list[PluginInfo])
        self.seen.append({plugin.name: plugin for plugin in plugins})

    def close(self) -> None:
        self._peer.close()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def listed(daemon: DaemonFacts) -> PluginList:
    with Peer(daemon.endpoints[0]) as peer:
        return peer.ask(ListPlugins(id="l"), PluginList)


def reload(daemon: DaemonFacts, plugin: str | None = None) -> PluginList:
    with Peer(daemon.endpoints[0]) as peer:
        return peer.ask(ReloadPlugins(id="r", plugin=plugin), PluginList)


class Managed(Plugins):
    """The core's plugins without a core. `retired`: versions that serve no new requests, in order;
    `pool` hears of them too."""

    def __init__(self, *folders: Path, **options: Any) -> None:
        self.retired: list[Version] = []
        self.reloads: list[str | None] = []
        self.pool: Pool | None = None
        self._news = asyncio.Event()
        super().__init__(
            folders,
            daemon=self,
            on_change=self._news.set,
            retire=self._let_go,
            **options,
        )

    def _let_go(self, version: Version) -> None:
        self.retired.append(version)
        if self.pool is not None:
            self.pool.retired(version)

    # -- Daemon ----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        return {"state": "ready", "reloads": self.reloads}

    async def reload_model(self, model: str | None) -> None:
        if model == "nonsense":
            raise ModelError("There is no model nonsense.", hint="Name another.")
        self.reloads.append(model)
        self.changed()

    def topic(self, name: str) -> dict[str, Any]:
        if name != "model":
            raise InvalidRequest(f"There is no topic {name!r}.")
        return {"reloads": list(self.reloads)}

    # --------------------------------------------------------------------------------------------

    async def until(self, name: str, accept: Callable[[PluginInfo], bool]) -> PluginInfo:
        """Wait until a plugin is in such a state."""
        while not accept(info := self.info(name)):
            self._news.clear()
            await self._news.wait()
        return info

    def info(self, name: str) -> PluginInfo:
        found = {info.name: info for info in self.infos()}
        return found.get(name) or PluginInfo(name="", state="failed", origin="file")


@asynccontextmanager
async def managed(*folders: Path, **options: Any) -> AsyncIterator[Managed]:
    plugins = Managed(*folders, **options)
    await plugins.start()
    try:
        yield plugins
    finally:
        await plugins.stop()
