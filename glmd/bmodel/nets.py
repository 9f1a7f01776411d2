"""What a .bmodel file holds: nets, their stages, and what each device has of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

# Where inputs and outputs of a net live, by model_deploy's names. basic: at addresses the net was
# compiled with, within its own memory; io_alone: the same, in a memory of their own; io_reloc:
# wherever they are at launch. For the first two libbmrt copies what is elsewhere.
AddrMode = Literal["basic", "io_alone", "io_tag", "io_tag_fuse", "io_reloc", "in_reuse"]


@dataclass(frozen=True)
class Tensor:
    """An input or output. `dtype`: "f16", "f32", "i32" and so on; `nbytes` on the device."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    device: int = 0

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"

    @property
    def elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Weight:
    """A constant of one operation. `operation`: TPU-MLIR's name for what reads it, such as
    "tpu.A16MatMul.scale"; several may be of the same one."""

    operation: str
    nbytes: int


@dataclass(frozen=True)
class Part:
    """What one device runs of a stage: several of one device follow each other by `step`. Bytes
    on that device. Parts of equal `digest` (SHA-256 of the weights) share one copy of them."""

    device: int
    step: int
    weights: tuple[Weight, ...]
    weight_bytes: int
    digest: bytes
    instruction_bytes: int
    neuron_bytes: int
    io_bytes: int


@dataclass(frozen=True)
class Stage:
    """A net compiled for one set of input shapes. `dynamic`: they are the largest it takes. With
    several devices every one has its own tensors; libbmrt wants them in this order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dynamic: bool
    parts: tuple[Part, ...]

    def on(self, device: int) -> Stage:
        """Of one device alone."""
        return Stage(
            tuple(tensor for tensor in self.inputs if tensor.device == device),
            tuple(tensor for tensor in self.outputs if tensor.device == device),
            self.dynamic,
            tuple(part for part in self.parts if part.device == device),
        )


@dataclass(frozen=True)
class Net:
    name: str
    addr_mode: AddrMode
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Memory:
    """Bytes that a device needs. `runtime`: the largest net's intermediate values, which all nets
    share, and the inputs and outputs of io_alone nets, which they do not."""

    weights: int
    instructions: int
    runtime: int

    @property
    def total(self) -> int:
        return self.weights + self.instructions + self.runtime


@dataclass(frozen=True)
class Bmodel:
    """`version`: of the format and of the compiler; `created`: as the compiler wrote it; `nbytes`:
    of the file."""

    path: Path
    nbytes: int
    version: str
    chip: str
    created: str
    devices: int
    nets: tuple[Net, ...]

    def net(self, name: str) -> Net | None:
        return next((net for net in self.nets if net.name == name), None)

    @property
    def weight_bytes(self) -> int:
        """Of all weights, each counted once however many nets and devices have it."""
        return _shared(part for stage in self._stages() for part in stage.parts)

    def memory(self, device: int = 0) -> Memory:
        """That libbmrt allocates on a device when it loads the file."""
        parts = [part for stage in self._stages() for part in stage.parts if part.device == device]
        return Memory(
            weights=_shared(parts),
            instructions=sum(part.instruction_bytes for part in parts),
            runtime=max((part.neuron_bytes for part in parts), default=0)
            + sum(part.io_bytes for part in parts),
        )

    def _stages(self) -> Iterable[Stage]:
        return (stage for net in self.nets for stage in net.stages)


def _shared(parts: Iterable[Part]) -> int:
    return sum({part.digest: part.weight_bytes for part in parts}.values())
