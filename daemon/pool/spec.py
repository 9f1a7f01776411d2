"""What the pool is asked to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from glmd.paths import DEFAULT_NAME


class PoolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: the daemon's. `backend`: "cpu" or "bm1684x". `mode`: f16, int8, int4, or None for the
    model's own. `context`, `slots`, `threads`, `replicas`: 0 for automatic; `threads` is for all
    replicas together. On chips the replicas follow from `devices`, of which each takes
    `model_devices`. `libsophon`: folder of their libraries, "" to look for it. `vocab`: ids of the
    tokenizer. `max_queue`: requests that may wait. `vocabulary`: the bytes that each id adds to a
    text, and `plugin_memory`: the bytes of memory that plugins may add to an engine child, 0 for
    any number.
    """

    model: Path
    name: str = DEFAULT_NAME
    backend: str
    mode: str | None = None
    context: int = 0
    slots: int = 0
    threads: int = 0
    replicas: int = 0
    devices: list[int] = []
    model_devices: int = 0
    simulate: bool = False
    libsophon: str = ""
    vocab: int = 0
    max_queue: int = 64
    vocabulary: Sequence[bytes] = ()
    plugin_memory: int = 0


class Files(Protocol):
    """Where the model's files are. `identity`: see glmd.checkpoint.identity."""

    @property
    def identity(self) -> str: ...

    def path(self) -> Path:
        """Raises ModelError when they are no more what they were."""


class Beside(NamedTuple):
    """What is loaded while other engine children serve leaves them `reserved` bytes, which they
    have been promised and do not use yet; it is not worth it with fewer than `slots` slots each."""

    reserved: int = 0
    slots: int = 0


ALONE = Beside()


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds of silence after which an engine child counts as stuck: while it loads, while it has
    a prompt to prefill, while it only decodes, while it is in a plugin's code. `stop`: how long it
    may take to leave when asked."""

    load: float = 600.0
    prefill: float = 120.0
    decode: float = 30.0
    plugin: float = 5.0
    stop: float = 1.0
