"""Where a tensor lies in a file, and how to read it: mapped, and copied only if it has to be."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmd.errors import ModelError

# numpy has no bfloat16: its bits travel as uint16.
NUMPY_DTYPES: dict[str, type[np.generic]] = {
    "F16": np.float16,
    "BF16": np.uint16,
    "F32": np.float32,
}


@dataclass(frozen=True)
class StoredTensor:
    """`dtype` as safetensors calls it; `strides` in elements; `offset` of the first element in
    bytes from the start of the file. Whoever makes one has checked that it lies inside the file.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return (
            int(np.prod(self.shape, dtype=np.int64)) * np.dtype(NUMPY_DTYPES[self.dtype]).itemsize
        )

    def read(self) -> NDArray[Any]:
        """A read-only view of the mapped file as float16, float32 or uint16 (bfloat16 bits); a copy
        where the elements are not in row-major order or not aligned. The mapping ends with the
        array, so that a caller who keeps one tensor at a time has one tensor in memory.
        """
        dtype = np.dtype(NUMPY_DTYPES[self.dtype])
        last = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        start = self.offset - self.offset % mmap.ALLOCATIONGRANULARITY
        length = self.offset - start + (last + 1) * dtype.itemsize
        try:
            with self.path.open("rb") as file:
                mapping = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{self.path} cannot be read any more: {error}.",
                hint="The file must not be changed while it is loaded.",
            ) from error
        steps = [step * dtype.itemsize for step in self.strides]
        mapped = np.ndarray(self.shape, dtype, mapping, self.offset - start, steps)
        values: NDArray[Any] = np.require(mapped, requirements=["C", "A"])
        values.flags.writeable = False
        return values


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a contiguous array."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return tuple(strides) if shape else ()


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """float16, float32, or uint16 holding bfloat16 bits, exactly."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)


def open_failed(path: Path, error: OSError) -> ModelError:
    return ModelError(
        f"{path} cannot be read: {error.strerror or error}.",
        hint="Check that the file exists and that you may read it.",
    )


def refuse_lfs_pointer(path: Path) -> None:
    """A clone without git-lfs has a note of a few lines where each weight file should be."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise open_failed(path, error) from error
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(
            f"{path} is a git-lfs pointer, not the file itself.",
            hint=f"Run `git lfs pull` in {os.fspath(path.parent)}.",
        )
