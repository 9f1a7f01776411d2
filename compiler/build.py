"""What is to be made: the choices that decide every byte of a bmodel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glmd.packed import Mode

# Which nets there are and how they look to a host: `serve` has nets for many conversations at once,
# `seed` those of the vendor's demos.
Recipe = Literal["seed", "serve"]


@dataclass(frozen=True)
class Build:
    """`seq_length`: tokens that prompt and answer have together. `group_size`: weights that share
    a scale and a zero point, in int8 and int4."""

    name: str = "chatglm3-6b"
    mode: Mode = "f16"
    num_device: int = 1
    seq_length: int = 512
    group_size: int = 64
    recipe: Recipe = "serve"

    @property
    def stem(self) -> str:
        """The name of the folder and, with its suffix, of the bmodel in it."""
        return f"{self.name}_{self.mode}_{self.num_device}dev"
