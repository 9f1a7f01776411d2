"""Turning the tensors of a checkpoint into what the CPU kernels read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.names import EMBEDDING
from glmd.checkpoint.stored import to_float32
from glmd.daemon.native import _engine
from glmd.errors import ModelError
from glmd.packed import VECTOR, Mode, PackedTensor, PackedWriter

Progress = Callable[[int, int], None]

# Groups of 32 rather than 64: half a byte more for 8 weights buys the accuracy of llama.cpp's Q4_0.
MATRIX_KIND: dict[Mode, str] = {"f16": "f16", "int8": "int8", "int4": "int4g32"}

_ALIGNMENT = 4  # of a matrix in memory

_BYTES_PER_WEIGHT: dict[Mode, float] = {"f16": 2, "int8": 1, "int4": 144 / 256}


def packed_size(checkpoint: Checkpoint, mode: Mode) -> int:
    """Bytes of memory that the packed tensors will take, to within a percent: an embedding that is
    stored as F16 stays mapped."""
    total = 0.0
    for name, tensor in checkpoint.tensors.items():
        weights = int(np.prod(tensor.shape))
        if name != EMBEDDING:
            total += weights * (_BYTES_PER_WEIGHT[mode] if len(tensor.shape) == 2 else 4)
        elif tensor.dtype != "F16":
            total += weights * 2
    return int(total)


def pack_tensors(
    checkpoint: Checkpoint, mode: Mode, progress: Progress, threads: int = 0
) -> Iterator[PackedTensor]:
    """Each tensor in the model's order. One source tensor is mapped at a time; `progress` counts
    bytes of the checkpoint. Raises ModelError for a value that the mode cannot hold."""
    done, total = 0, checkpoint.nbytes
    for name, stored in checkpoint.tensors.items():
        try:
            yield _packed(checkpoint, name, mode, threads)
        except ValueError as error:
            raise ModelError(
                f"{stored.path}: {name} cannot be packed as {mode}: {error}.",
                hint="The checkpoint is damaged, or was trained in a range that F16 does not have.",
            ) from error
        done += stored.nbytes
        progress(done, total)


def _packed(checkpoint: Checkpoint, name: str, mode: Mode, threads: int) -> PackedTensor:
    values = checkpoint.read(name)
    if values.ndim == 1:
        data = to_float32(values).view(np.uint8)
        return PackedTensor(name, VECTOR, 1, values.size, data)
    rows, cols = values.shape
    kind = MATRIX_KIND[mode]
    if name == EMBEDDING:
        kind = "rows_f16"
        # In that layout already, and mostly where the kernels can use it; some zip files are not
        # padded as torch pads them.
        if values.dtype == np.float16 and values.ctypes.data % _ALIGNMENT == 0:
            return PackedTensor(name, kind, rows, cols, values.reshape(-1).view(np.uint8))
    return PackedTensor(name, kind, rows, cols, _engine.pack(values, kind, threads))


def write_packed(
    checkpoint: Checkpoint, mode: Mode, path: Path, progress: Progress, threads: int = 0
) -> None:
    """Write the packed file of a checkpoint, with its tokenizer. Raises ModelError, and OSError
    where the disk does."""
    with PackedWriter(
        path,
        config=checkpoint.config_json,
        mode=mode,
        source=checkpoint.folder.name,
        tokenizer=checkpoint.tokenizer(),
    ) as writer:
        for tensor in pack_tensors(checkpoint, mode, progress, threads):
            writer.add(tensor)
