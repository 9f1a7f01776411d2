"""From a Load command to a backend that can run: `load_backend`."""

from __future__ import annotations

from pathlib import Path

from glmd.checkpoint.identity import identity
from glmd.daemon.engine.load_bmodel import load_bmodel
from glmd.daemon.engine.load_cpu import load_cpu
from glmd.daemon.engine.loaded import Loaded
from glmd.daemon.engine.messages import Load
from glmd.daemon.engine.packing import Progress
from glmd.errors import ModelError, Unsupported

_BACKENDS = {"cpu": load_cpu, "bm1684x": load_bmodel}


def load_backend(load: Load, progress: Progress) -> Loaded:
    """`progress(done, total)` in bytes of the model, at least once. Raises Unsupported, and
    ModelError, also when the files became others than `load.identity` meanwhile."""
    if load.backend not in _BACKENDS:
        raise Unsupported(
            f"There is no backend {load.backend!r}.", hint=f"There are {', '.join(_BACKENDS)}."
        )
    loaded = _BACKENDS[load.backend](load, progress)
    if load.identity and identity(Path(load.model)) != load.identity:
        raise ModelError(
            f"{load.model} changed while it was being loaded.",
            hint="Put the new files beside the old ones and rename them when they are complete.",
        )
    return loaded
