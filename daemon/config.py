"""The settings of one daemon: what was said on the command line, over config.toml, over defaults.

[daemon]            # for every daemon
model = "~/models/chatglm3-6b"
mode = "int4"

[daemons.work]      # for the one started with --name work
listen = "tcp://0.0.0.0:5570"
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from glmd import paths
from glmd.checkpoint.source import located
from glmd.daemon.sophon import simulator_folder
from glmd.errors import ModelError, StartFailed
from glmd.settings import Backend, DaemonSettings, LogLevel, Mode
from glmd.validation import explain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BMODEL = ".bmodel"
PLUGIN_MEMORY = 1024  # MiB that plugins may add to an engine child above its size when loaded

# The simulator is one chip with this id.
SIMULATED_DEVICE = 0

_TCP = re.compile(r"^tcp://(\*|[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5}|\*)$")


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Settings with nothing left open; the fields are those of DaemonSettings. `mode`: None for the
    model's own. 0 is automatic for `context`, `slots`, `threads` and `replicas`."""

    name: str
    model: Path
    tokenizer: Path | None
    backend: Literal["cpu", "bm1684x"]
    mode: Mode | None
    devices: list[int]
    simulate: bool
    libsophon: Path | None
    context: int
    slots: int
    threads: int
    replicas: int
    listen: str | None
    max_queue: int
    plugin_dirs: list[Path]
    plugin_memory: int
    safe_mode: bool
    log_level: LogLevel

    @property
    def chips(self) -> list[int]:
        """Ids of the chips in use; the simulator is none."""
        return [] if self.simulate else self.devices


def resolve(said: DaemonSettings) -> Config:
    """Raises StartFailed for settings that cannot be, and ModelError for a model that cannot run
    where it was asked to. Nothing is put in the place of what was asked for."""
    settings = _over(said, _configured(said.name))
    named = Path(settings.model).expanduser() if settings.model else paths.embedded_model()
    model = located(named)
    simulate = settings.simulate or False
    _check_listen(settings.listen)
    return Config(
        name=settings.name,
        model=model,
        tokenizer=Path(settings.tokenizer).expanduser() if settings.tokenizer else None,
        backend=_backend(settings, model),
        mode=settings.mode,
        devices=settings.devices or ([SIMULATED_DEVICE] if simulate else []),
        simulate=simulate,
        libsophon=_libsophon(settings.libsophon, simulate),
        context=settings.context or 0,
        slots=settings.slots or 0,
        threads=settings.threads or 0,
        replicas=settings.replicas or 0,
        listen=settings.listen,
        max_queue=settings.max_queue or 64,
        plugin_dirs=[Path(folder).expanduser() for folder in settings.plugin_dirs or []],
        plugin_memory=PLUGIN_MEMORY if settings.plugin_memory is None else settings.plugin_memory,
        safe_mode=settings.safe_mode or False,
        log_level=settings.log_level or "info",
    )


def _configured(name: str) -> DaemonSettings:
    path = paths.config_file()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return DaemonSettings(name=name)
    except OSError as error:
        raise StartFailed(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StartFailed(f"{path} is not TOML: {error}.", hint="Mend that line.") from None
    merged: dict[str, Any] = {}
    for where, table in (
        ("daemon", tables.get("daemon", {})),
        (f"daemons.{name}", _named(tables, name)),
    ):
        try:
            msgspec.convert(table, DaemonSettings)
        except msgspec.ValidationError as error:
            raise StartFailed(
                f"{path}, table [{where}]: {explain(error)}", hint="Mend or remove it."
            ) from None
        merged.update(table)
    return msgspec.convert(merged | {"name": name}, DaemonSettings)


def _named(tables: dict[str, Any], name: str) -> Any:
    named = tables.get("daemons", {})
    return named.get(name, {}) if isinstance(named, dict) else named


def _over(said: DaemonSettings, configured: DaemonSettings) -> DaemonSettings:
    given = {
        field: value
        for field in DaemonSettings.__struct_fields__
        if (value := getattr(said, field)) is not None
    }
    return msgspec.structs.replace(configured, **given)


def _backend(settings: DaemonSettings, model: Path) -> Literal["cpu", "bm1684x"]:
    asked: Backend = settings.backend or "auto"
    compiled = model.suffix == BMODEL
    if asked == "cpu" and compiled:
        raise ModelError(
            f"{model} is compiled for the BM1684X and cannot run on the CPU.",
            hint="Name the checkpoint it was made from, or leave --backend out.",
        )
    if not compiled:
        reason = (
            "Device ids were given (--devid)"
            if settings.devices
            else "The simulator was asked for (--simulate)"
            if settings.simulate
            else "The backend bm1684x was asked for"
            if asked == "bm1684x"
            else ""
        )
        if reason:
            what = f"{model} is none" if settings.model else "no model was named"
            raise ModelError(
                f"{reason}, which needs a bmodel, and {what}.",
                hint="Make one with `glmd compile`, and name it with --model; or leave that out to "
                "run on the CPU.",
            )
        return "cpu"
    if settings.simulate:
        if settings.devices not in (None, [], [SIMULATED_DEVICE]):
            raise StartFailed(
                "The simulator is one chip, device 0, and --devid names others.",
                hint="Leave --devid out, or leave --simulate out to use the chips.",
            )
    elif not settings.devices:
        raise ModelError(
            f"{model} runs on BM1684X chips, and none was named.",
            hint="Name them with --devid 0 (`glmd devices` lists them), or run on the simulator "
            "with --simulate.",
        )
    return "bm1684x"


def _libsophon(said: str | None, simulate: bool) -> Path | None:
    given = Path(said).expanduser().absolute() if said else None
    return simulator_folder(given) if simulate else given


def _check_listen(endpoint: str | None) -> None:
    if endpoint is None:
        return
    match = _TCP.match(endpoint)
    if match is None or (match[2] != "*" and not 0 < int(match[2]) < 65536):
        raise StartFailed(
            f"{endpoint!r} is no tcp endpoint.",
            hint="Write tcp://ADDRESS:PORT, as in tcp://*:5570.",
        )
