"""Plugins in the core: found, looked over in a child, kept up to date, never imported here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glmd import paths
from glmd.daemon.engine.stages import BUILTIN, Parameter
from glmd.daemon.plugins.checker import Checker
from glmd.daemon.plugins.host import Daemon, PluginHost
from glmd.daemon.plugins.messages import ToolDone
from glmd.daemon.plugins.registry import Record, Registry, Snapshot
from glmd.daemon.plugins.version import Version
from glmd.daemon.plugins.watch import FolderWatch, stamps
from glmd.discovery import discover
from glmd.errors import NotFound
from glmd.wire.replies import PluginInfo, StageInfo
from glmd.wire.sampling import Sampling

FAILURES = 3  # within WINDOW, and a plugin is quarantined
WINDOW = 60.0  # seconds

log = logging.getLogger(__name__)


class Plugins:
    """Lives on the event loop and never blocks it. `daemon`: what they may do with it. `on_change`
    is called when facts about plugins have changed, `retire` with a version that no new request
    will use."""

    def __init__(
        self,
        folders: Sequence[Path] = (),
        *,
        safe_mode: bool = False,
        daemon: Daemon,
        on_change: Callable[[], None],
        retire: Callable[[Version], None],
    ) -> None:
        self._folders = [paths.plugins_dir(), *folders]
        self._safe_mode = safe_mode
        self._on_change = on_change
        self._retire = retire
        self._registry = Registry(self._retired)
        self._host = PluginHost(daemon, self._trouble)
        self._checker = Checker()
        self._scanning = asyncio.Lock()
        self._watch: FolderWatch | None = None
        self._scans: set[asyncio.Task[None]] = set()
        self._stamps = stamps(())  # of the files as the last scan found them

    def start(self) -> asyncio.Task[None]:
        """Begin to load what there is, and watch for changes from now on. The task is done when
        everything has been looked over."""
        folder = paths.plugins_dir()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            log.warning("%s cannot be made: %s.", folder, error.strerror)
        if not self._safe_mode:
            self._watch = FolderWatch(self._noticed)
        return self._noticed()

    async def stop(self) -> None:
        if self._watch is not None:
            await asyncio.to_thread(self._watch.close)
        for scan in self._scans:
            scan.cancel()
        await asyncio.gather(*self._scans, return_exceptions=True)
        await self._checker.stop()
        await self._host.stop()

    # -- what plugins hear -----------------------------------------------------------------------

    def started(self) -> None:
        """The daemon serves."""
        self._host.started()

    def model_changed(self, old: str, new: str) -> None:
        self._host.model_changed(old, new)

    def changed(self) -> None:
        """Some fact about the daemon may be different now."""
        self._host.changed()

    # -- finding ---------------------------------------------------------------------------------

    async def scan(self) -> None:
        """Look for plugins, and load those that are new or other than before."""
        async with self._scanning:
            # Watched first: what is saved while it is read is noticed then.
            self._watch_all()
            self._stamps = await asyncio.to_thread(stamps, self._folders)
            sources = await asyncio.to_thread(
                discover, self._folders[1:], safe_mode=self._safe_mode
            )
            for record in self._registry.found(sources):
                await self._look_over(record)
                name = record.source.name
                if record.error:
                    log.warning("The plugin %s could not be loaded: %s", name, record.error)
                else:
                    log.info("The plugin %s is loaded (%s).", name, record.source.path)
                self._on_change()
            self._watch_all()
            self._on_change()

    async def _look_over(self, record: Record) -> None:
        version = self._registry.checked(record, await self._checker.check(record.source))
        if version is not None and version.hosted:
            record.error = await self._host.adopt(version)
        if version is not None and not record.error:
            self._registry.serve(record, version)

    async def reload(self, name: str | None) -> None:
        """Look for plugins again, and load `name` anew in any case. Raises NotFound."""
        if name is not None:
            record = self._registry.record(name)
            if record is not None:
                record.again = True
        await self.scan()
        if name is not None and self._registry.record(name) is None:
            raise NotFound(
                f"There is no plugin {name}.", hint="`glmd plugins list` shows those there are."
            )

    def _noticed(self) -> asyncio.Task[None]:
        scan = asyncio.get_running_loop().create_task(self.scan())
        self._scans.add(scan)
        scan.add_done_callback(self._scans.discard)
        return scan

    def _watch_all(self) -> None:
        if self._watch is not None:
            files = [r.source.path for r in self._registry.records() if r.source.origin == "file"]
            self._watch.watch(self._folders, map(Path, files))

    # -- requests --------------------------------------------------------------------------------

    async def samplers(self, sampling: Sampling) -> Snapshot:
        """The samplers that a request may name. Where it names one, files that were saved before it
        came are looked at first: the file system's own word of them comes up to a second later."""
        if not self._safe_mode and any(s.name not in BUILTIN for s in sampling.stages or ()):
            async with self._scanning:
                fresh = self._stamps == await asyncio.to_thread(stamps, self._folders)
            if not fresh:
                await self.scan()
        return self.snapshot

    @property
    def snapshot(self) -> Snapshot:
        """The samplers that a request may name now. Never changed, only replaced."""
        return self._registry.snapshot

    def blame(self, version: Version, what: str, crashed: bool) -> None:
        """A request failed in this plugin's code, or its code took an engine down."""
        log.warning("The plugin %s: %s", version.name, what)
        now = time.monotonic()
        version.failures = [at for at in version.failures if now - at < WINDOW] + [now]
        if version.quarantined or not (crashed or len(version.failures) >= FAILURES):
            return
        why = what if crashed else f"it failed {FAILURES} times within a minute, last: {what}"
        log.error("The plugin %s is quarantined.", version.name)
        self._registry.quarantine(version, why)
        self._on_change()

    def _retired(self, version: Version) -> None:
        self._host.dismiss(version)
        self._retire(version)

    def _trouble(self, version: Version, what: str) -> None:
        log.warning("The plugin %s: %s", version.name, what)
        version.trouble = what
        self._on_change()

    @property
    def host_pid(self) -> int | None:
        """The plugin host's process, None while there is none."""
        return self._host.pid

    # -- tools -----------------------------------------------------------------------------------

    async def run_tool(self, name: str, arguments: dict[str, Any]) -> ToolDone:
        """Run the tool of that name in the plugin host. Raises NotFound."""
        for record in self._registry.records():
            version = record.version
            if version and any(tool.name == name for tool in version.report.tools):
                return await self._host.run_tool(version, name, arguments)
        raise NotFound(f"There is no tool {name}.", hint="`glmd plugins list` shows all.")

    # -- facts -----------------------------------------------------------------------------------

    def infos(self) -> list[PluginInfo]:
        return [record.info() for record in self._registry.records()]

    def stages(self) -> list[StageInfo]:
        """Every stage that a request may name, the built-in ones first."""
        own = [StageInfo(name=name, params=_schema(params)) for name, params in BUILTIN.items()]
        return own + [
            StageInfo(
                name=name,
                plugin=offer.version.name,
                about=offer.doc,
                params=offer.schema,
                replayable=offer.replayable,
            )
            for name, offer in self.snapshot.items()
        ]


def _schema(parameters: dict[str, Parameter]) -> dict[str, Any]:
    """Parameters of a built-in stage as msgspec.json.schema describes those of a plugin's."""
    return {
        "type": "object",
        "properties": {name: _property(parameter) for name, parameter in parameters.items()},
        "required": [],
    }


def _property(parameter: Parameter) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = {
        "bool": {"type": "boolean"},
        "int": {"type": "integer", "minimum": parameter.low, "maximum": parameter.high},
        "float": {"type": "number", "minimum": parameter.low, "maximum": parameter.high},
    }
    return {**kinds.get(parameter.type, {"type": "array"}), "default": parameter.default}
