"""Finding plugins without importing any: those that ship, entry points of packages, files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pkgutil
import re
import stat
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from glmd import paths

GROUP = "glmd.plugins"  # of entry points, and the package of those that ship
MAX_SOURCE = 1 << 20  # bytes of a plugin's file

Origin = Literal["built-in", "package", "file"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A plugin that was found. `target`: the module, or `module:attribute`, that a package or
    glmd itself registers; "" for a file, whose `text` is run. `version`: of the package. `sha256`:
    of the file. `problem`: why it must not be loaded, "" where nothing is in the way."""

    name: str
    origin: Origin
    target: str = ""
    path: str = ""
    version: str = ""
    sha256: str = ""
    text: str = ""
    problem: str = ""

    @property
    def content(self) -> tuple[str, str, str]:
        """What is the same as long as the plugin is."""
        return self.target, self.version, self.sha256


def discover(folders: Sequence[Path] = (), *, safe_mode: bool = False) -> list[Source]:
    """All plugins in the order in which they load: built-ins, packages, the user's folder, then
    `folders`. The first of a name has it. `safe_mode`: none but the built-ins may load. Also obeys
    GLMD_PLUGINS, which names the others that may, and `glmd plugins disable`."""
    allowed = os.environ.get("GLMD_PLUGINS")
    only = None if allowed is None else {name.strip() for name in allowed.split(",")}
    off = disabled()
    found: dict[str, Source] = {}
    for source in (*_built_in(), *_packages(), *_files([paths.plugins_dir(), *folders])):
        problem = source.problem
        if source.name in off:
            problem = f"It is disabled; `glmd plugins enable {source.name}` changes that."
        elif source.origin == "built-in":
            pass
        elif safe_mode:
            problem = "The daemon runs in safe mode, with the built-in plugins alone."
        elif only is not None and source.name not in only:
            problem = "GLMD_PLUGINS does not name it."
        if source.name not in found:
            found[source.name] = msgspec.structs.replace(source, problem=problem)
        elif (first := found[source.name]).path != source.path:
            shadow = f"{source.name} ({source.path or source.origin})"
            taken = f"The name {source.name} belongs to the plugin {first.path or first.origin}."
            found.setdefault(shadow, msgspec.structs.replace(source, name=shadow, problem=taken))
    return list(found.values())


def read_file(path: Path) -> Source:
    """The plugin in one file, named like it."""
    source = Source(name=path.stem, origin="file", path=str(path))
    problem, data = "", b""
    if not _NAME.fullmatch(path.stem):
        problem = "A plugin's name has up to 64 letters, digits, dots, dashes and underscores."
    else:
        try:
            problem = _changeable(path)
            with path.open("rb") as file:
                data = file.read(MAX_SOURCE + 1)
        except OSError as error:
            problem = problem or f"{path} cannot be read: {error.strerror}."
    if len(data) > MAX_SOURCE:
        problem = problem or f"{path} has more than {MAX_SOURCE:,} bytes."
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text, problem = "", problem or f"{path} is not UTF-8: {error}."
    digest = hashlib.sha256(data).hexdigest()
    return msgspec.structs.replace(source, sha256=digest, text=text, problem=problem)


def is_plugin_file(path: Path) -> bool:
    """Whether a name is one of a plugin, and not of an editor's or a tool's own files."""
    return path.suffix == ".py" and path.name[0] not in "._#~"


def disabled() -> set[str]:
    """The names that `glmd plugins disable` has noted down."""
    try:
        return set(paths.disabled_plugins_file().read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError):
        return set()


def disable(name: str, off: bool) -> None:
    """Note that `name` is not to be loaded, or forget that. Raises OSError."""
    names = disabled()
    names = names | {name} if off else names - {name}
    file = paths.disabled_plugins_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text("".join(f"{one}\n" for one in sorted(names)), encoding="utf-8")


def _built_in() -> Iterator[Source]:
    spec = importlib.util.find_spec(GROUP)
    places = spec.submodule_search_locations if spec else None
    for module in sorted(pkgutil.iter_modules(places or []), key=lambda found: found.name):
        if module.name.startswith("_"):
            continue
        target = f"{GROUP}.{module.name}"
        found = module.module_finder.find_spec(module.name, None)
        path = (found.origin if found else None) or ""
        yield Source(
            name=module.name,
            origin="built-in",
            target=target,
            path=path,
            version=_version("glmd"),
            sha256=_digest(path),
        )


def _packages() -> Iterator[Source]:
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda found: found.name):
        name = "" if point.dist is None else point.dist.name
        yield Source(
            name=point.name,
            origin="package",
            target=point.value,
            path=f"{name} ({point.value})",
            version=_version(name),
        )


def _files(folders: Sequence[Path]) -> Iterator[Source]:
    for folder in folders:
        try:
            names = sorted(folder.iterdir())
        except OSError:
            continue  # there is none, mostly
        for path in names:
            if is_plugin_file(path) and not path.is_dir():
                yield read_file(path)


def _changeable(path: Path) -> str:
    """Why what `path` leads to is not safe to run; "" where only this user and root can change
    it."""
    real = path.resolve()
    for place in (path.parent, real.parent, real):
        info = place.stat()
        if info.st_uid not in {0, os.getuid()}:
            return f"{place} belongs to another user ({info.st_uid}), who could change it."
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"Others can write to {place}; `chmod go-w {place}` ends that."
    return ""


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution) if distribution else ""
    except metadata.PackageNotFoundError:
        return ""
