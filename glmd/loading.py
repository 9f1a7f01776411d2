"""Importing one plugin. Only the plugin host and the engine children do this."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import msgspec
import pluggy

from glmd import hookspecs
from glmd.discovery import Source
from glmd.sampler import Sampler
from glmd.tool import RunnableTool

CHECK_SECONDS = 10.0  # that importing a plugin and trying its samplers may take
USER_MODULES = "glmd_user"  # the package that files seem to be in

# What a lone file may not do: its code would run in the command line.
INSTALLED_ONLY = frozenset({"glmd_register_commands"})


@dataclass
class Loaded:
    """A plugin at hand. `manager` calls its hooks; `hooks` are the names of those it has."""

    source: Source
    manager: pluggy.PluginManager
    hooks: list[str]
    version: str
    module: ModuleType | None = None
    samplers: dict[str, Sampler] = field(default_factory=dict)
    tools: dict[str, RunnableTool] = field(default_factory=dict)

    def unload(self) -> None:
        """Let go of a file's module. One of a package stays imported, as modules do."""
        self.samplers.clear()
        self.tools.clear()
        if self.module is not None and self.source.origin == "file":
            sys.modules.pop(self.module.__name__, None)


def load(source: Source) -> Loaded:
    """Import a plugin, look its hooks over, take what it registers. A file's module gets a name of
    its own for every content, so that two versions live side by side.

    Raises whatever the plugin's code raises, SystemExit too; ImportError, pluggy's
    PluginValidationError and TypeError for what is no plugin."""
    if source.origin == "file":
        plugin: Any = _run(source)
        module = plugin
    else:
        plugin, module = _import(source.target), None
    try:
        manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        manager.add_hookspecs(hookspecs)
        manager.register(plugin, source.name)
        manager.check_pending()
        hooks = sorted(caller.name for caller in manager.get_hookcallers(plugin) or [])
        if not hooks:
            raise TypeError("it has no hook: none of its functions is marked @glmd.hookimpl")
        if source.origin == "file" and (foreign := INSTALLED_ONLY.intersection(hooks)):
            raise TypeError(f"{', '.join(sorted(foreign))}: this hook is for installed packages")
        version = source.version or str(getattr(module, "__version__", ""))
        loaded = Loaded(source, manager, hooks, version, module)
        manager.hook.glmd_register_samplers(register=lambda one: _add_sampler(loaded, one))
        manager.hook.glmd_register_tools(register=lambda one: _add_tool(loaded, one))
    except BaseException:
        if module is not None:
            sys.modules.pop(module.__name__, None)
        raise
    return loaded


def _run(source: Source) -> ModuleType:
    name = f"{USER_MODULES}.{source.name}__{source.sha256[:12]}"
    module = ModuleType(name)
    module.__file__ = source.path
    sys.modules[name] = module
    try:
        exec(compile(source.text, source.path, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    plugin: Any = import_module(module)
    for step in filter(None, attribute.split(".")):
        plugin = getattr(plugin, step)
    return plugin


def _add_sampler(loaded: Loaded, sampler: Any) -> None:
    name = _checked(loaded.samplers, sampler, "sampler")
    if not callable(getattr(sampler, "start", None)):
        raise TypeError(f"the sampler {name!r} has no start(params, ctx)")
    if getattr(sampler, "place", "first") not in {"first", "last"}:
        raise TypeError(f"the place of the sampler {name!r} is neither 'first' nor 'last'")
    loaded.samplers[name] = sampler


def _add_tool(loaded: Loaded, tool: Any) -> None:
    name = _checked(loaded.tools, tool, "tool")
    if not callable(getattr(tool, "run", None)):
        raise TypeError(f"the tool {name!r} has no run(params)")
    if not isinstance(getattr(tool, "description", None), str):
        raise TypeError(f"the tool {name!r} has no description")
    loaded.tools[name] = tool


def _checked(known: dict[str, Any], registered: Any, kind: str) -> str:
    name = getattr(registered, "name", None)
    if isinstance(registered, type):
        raise TypeError(f"register a {kind}, not the class {registered.__name__}: write its ()")
    if not isinstance(name, str) or not 0 < len(name) <= 64:
        raise TypeError(f"a {kind} has a name of 1 to 64 characters, not {name!r}")
    if name in known:
        raise TypeError(f"it registers two {kind}s named {name!r}")
    params = getattr(registered, "Params", None)
    if not (isinstance(params, type) and issubclass(params, msgspec.Struct)):
        raise TypeError(f"Params of the {kind} {name!r} is no subclass of msgspec.Struct")
    return name
