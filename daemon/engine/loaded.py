"""What loading a model gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from glmd.bmodel.estimates import Estimates
from glmd.checkpoint.config import ModelConfig
from glmd.daemon.native import _engine


@dataclass(frozen=True)
class Loaded:
    """`config`: None where the model is compiled. `mode`: "" where it does not say. `nbytes` of
    weights; `kv_bytes` of the host's memory that full slots take; `seconds` that loading took.
    `estimates`: what steps are expected to take, where the model says."""

    backend: _engine.Backend
    config: ModelConfig | None
    mode: str
    slots: int
    context: int
    nbytes: int
    kv_bytes: int
    seconds: float
    estimates: Estimates = field(default_factory=dict)
