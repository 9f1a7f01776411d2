"""How one daemon is to run, as a person says it: on the command line and in config.toml."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from glmd.errors import StartFailed
from glmd.paths import DEFAULT_NAME
from glmd.validation import explain

DRAIN_SECONDS = 30.0  # that running requests get when the daemon is told to stop

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Backend = Literal["auto", "cpu", "bm1684x"]
Mode = Literal["f16", "int8", "int4"]
LogLevel = Literal["debug", "info", "warning", "error"]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]


class DaemonSettings(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """None means "not said": config.toml decides, and where it is silent daemon/config.py.

    `model`: checkpoint folder, packed file or bmodel; `tokenizer`: where it lies, when not beside
    the model. `devices`: ids of BM1684X chips. `simulate`: use the simulator for them.
    `libsophon`: folder of libbmrt and libbmlib, and of the simulator. `context`: positions a
    conversation may have; `slots`: conversations whose KV cache stays resident; `threads`: of the
    CPU backend, all replicas together; 0 is automatic for these three.
    `replicas`: copies of the model on the CPU. `listen`: a tcp endpoint beside the local one,
    `tcp://host:port`. `max_queue`: requests that may wait. `plugin_dirs`: folders with plugins
    beside the user's own; `plugin_memory`: MiB that they may add to an engine child, 0 for any
    number; `safe_mode`: no plugins but the built-in ones.
    """

    name: Name = DEFAULT_NAME
    model: str | None = None
    tokenizer: str | None = None
    backend: Backend | None = None
    mode: Mode | None = None
    devices: list[Annotated[int, msgspec.Meta(ge=0, le=1023)]] | None = None
    simulate: bool | None = None
    libsophon: str | None = None
    context: Count | None = None
    slots: Count | None = None
    threads: Count | None = None
    replicas: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    listen: str | None = None
    max_queue: Annotated[int, msgspec.Meta(ge=1, le=65536)] | None = None
    plugin_dirs: list[str] | None = None
    plugin_memory: Count | None = None
    safe_mode: bool | None = None
    log_level: LogLevel | None = None

    def check(self) -> None:
        """Raises StartFailed for a value that cannot be: only decoding checks by itself."""
        try:
            msgspec.convert(msgspec.to_builtins(self), DaemonSettings)
        except msgspec.ValidationError as error:
            raise StartFailed(f"A setting of the daemon is wrong. {explain(error)}") from None
