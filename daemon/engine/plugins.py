"""Plugins in the engine child: imported as the core sends them, watched while their code runs."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glmd.daemon.engine.messages import Forget, Import, Vocabulary
from glmd.daemon.engine.sampling import PluginSampler
from glmd.daemon.plugins.breadcrumb import Breadcrumb
from glmd.errors import Code, EngineFailed
from glmd.loading import Loaded, load
from glmd.plugin_stage import BUDGET

SLACK = 268435456  # bytes above the limit on plugins' memory that the engine itself may still take

_STATM = Path("/proc/self/statm")
_DATA = 5  # its field of data and stack, in pages: proc_pid_statm(5)


@dataclass
class Plugin:
    """`grown`: bytes that the process has grown by in its code. `error`: why there is no module."""

    name: str
    loaded: Loaded | None = None
    error: str = ""
    grown: int = 0


class Plugins:
    """Those that requests have named, by the core's numbers. `limit`: bytes that they may add to
    the process, 0 for any number."""

    def __init__(self, breadcrumb: Breadcrumb, limit: int) -> None:
        self.vocab_bytes: Sequence[bytes] = ()
        self.breadcrumb = breadcrumb
        self._limit = limit
        self._base = 0
        self._statm = os.open(_STATM, os.O_RDONLY)
        self._page = resource.getpagesize()
        self._plugins: dict[int, Plugin] = {}

    def obey(self, command: Vocabulary | Import | Forget) -> None:
        if isinstance(command, Vocabulary):
            self.vocab_bytes = tuple(command.table)
            self._settle()
        elif isinstance(command, Import):
            self._import(command)
        else:
            self._forget(command.number)

    def samplers(self, numbers: Mapping[str, int]) -> dict[str, PluginSampler]:
        """The samplers that these stages' names mean. Raises EngineFailed for a plugin that cannot
        be imported here."""
        found = {}
        for name, number in numbers.items():
            plugin = self._plugins[number]
            if plugin.loaded is None:
                raise EngineFailed(
                    f"The plugin {plugin.name} could not be imported in the engine: {plugin.error}",
                    code=Code.PLUGIN_ERROR,
                    plugin=plugin.name,
                )
            found[name] = PluginSampler(
                plugin.loaded.samplers[name], plugin.name, Watch(self, number)
            )
        return found

    # -- memory ----------------------------------------------------------------------------------

    def data(self) -> int:
        """Bytes of memory that this process alone can write to. Unlike what is resident, that does
        not grow when the KV cache, which is there from the start, is filled."""
        return int(os.pread(self._statm, 128, 0).split()[_DATA]) * self._page

    def noted(self, number: int, by: int) -> Plugin:
        plugin = self._plugins[number]
        plugin.grown += by
        return plugin

    def grew(self, number: int, by: int) -> None:
        """Note what a plugin's code has added. Raises MemoryError when all of them are above the
        limit, and this one has added most."""
        plugin = self.noted(number, by)
        if by <= 0 or not self._limit or self.data() - self._base <= self._limit:
            return
        if plugin.grown == max(other.grown for other in self._plugins.values()):
            raise MemoryError(
                f"it has made the engine grow by {plugin.grown >> 20} MiB, and "
                f"{self._limit >> 20} MiB are allowed (--plugin-memory)"
            )

    def _settle(self) -> None:
        """What is here now is the engine's own."""
        gc.collect()
        gc.freeze()  # a collection after a plugin is gone need not look through all of it
        self._base = self.data()
        if self._limit:
            most = self._base + self._limit + SLACK
            hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
            if hard == resource.RLIM_INFINITY or most < hard:
                resource.setrlimit(resource.RLIMIT_DATA, (most, hard))

    # -- modules ---------------------------------------------------------------------------------

    def _import(self, command: Import) -> None:
        plugin = self._plugins[command.number] = Plugin(command.source.name)
        try:
            with Watch(self, command.number, budget=None):
                plugin.loaded = load(command.source)
        except BaseException as error:
            plugin.error = f"{type(error).__name__}: {error}."

    def _forget(self, number: int) -> None:
        plugin = self._plugins.pop(number, None)
        if plugin is None or plugin.loaded is None:
            return
        plugin.loaded.unload()
        plugin.loaded = None
        gc.collect()
        if self._limit and plugin.grown > 0 and self.data() - self._base > self._limit:
            # It left behind what nobody can give back. The core starts another child, and the
            # requests of others go on there.
            self.breadcrumb.enter(number)
            os._exit(1)


class Watch:
    """To be entered around a plugin's code: writes down that it runs, and measures it. Leaving it
    raises TimeoutError when the code took too long twice in a row (once is forgiven: the machine
    may have been busy), and MemoryError. `budget`: seconds."""

    def __init__(self, plugins: Plugins, number: int, budget: float | None = BUDGET) -> None:
        self._plugins = plugins
        self._number = number
        self._budget = budget
        self._late = False
        self._since = 0.0
        self._data = 0

    def __enter__(self) -> None:
        self._data = self._plugins.data()
        self._plugins.breadcrumb.enter(self._number)
        self._since = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        took = time.monotonic() - self._since
        self._plugins.breadcrumb.leave()
        grown = self._plugins.data() - self._data
        if kind is not None:
            self._plugins.noted(self._number, grown)
            return
        late = self._budget is not None and took > self._budget
        if late and self._late:
            raise TimeoutError(
                f"it took {1000 * took:.0f} ms, twice in a row more than the "
                f"{1000 * BUDGET:.0f} ms that a token may take"
            )
        self._late = late
        self._plugins.grew(self._number, grown)
