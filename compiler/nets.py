"""A net: a part of the model that the device runs in one launch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dtype = Literal["f16", "f32", "i32"]

Kind = Literal[
    "embedding",
    "block",
    "block_cache",
    "prefill",
    "chunk",
    "decode",
    "lm_head",
    "greedy_head",
    "penalty_sample_head",
    "top_head",
]

# Computed in F32 whatever the mode: they choose a token and have no weights.
HEADS: tuple[Kind, ...] = ("greedy_head", "penalty_sample_head", "top_head")


@dataclass(frozen=True)
class Port:
    """An input or an output, as the bmodel has it."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Net:
    """`layer`: which one, for the nets that there are one of a layer. `rows`: of the new tokens,
    where nets of the same name differ in that: they become the stages of one."""

    name: str
    kind: Kind
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    layer: int | None = None
    rows: int | None = None

    @property
    def key(self) -> str:
        """No other net, and no other stage of this one, has it."""
        return self.name if self.rows is None else f"{self.name}.{self.rows}"

    @property
    def family(self) -> str:
        """Nets of one family hold the same weights, which a bmodel of them all has once."""
        if self.rows is None:
            return self.name
        return self.kind if self.layer is None else f"layer_{self.layer}"
