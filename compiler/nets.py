"""A net: a part of the model that the device runs in one launch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["f16", "f32", "i32"]

Kind = Literal["embedding", "block", "block_cache", "lm_head", "greedy_head", "penalty_sample_head"]

# Computed in F32 whatever the mode: they choose a token and have no weights.
HEADS: tuple[Kind, ...] = ("greedy_head", "penalty_sample_head")


@dataclass(frozen=True)
class Port:
    """An input or an output, as the bmodel has it."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Net:
    """`layer`: which one, for the nets that there are one of a layer."""

    name: str
    kind: Kind
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layer: int | None = None
