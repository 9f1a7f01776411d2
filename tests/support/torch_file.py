"""What torch.save writes, made without torch: a zip of raw storages and a protocol 2 pickle.

Source of the format: torch/serialization.py (`_save`) and the opcodes of Lib/pickletools.py.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# uint16 arrays hold bfloat16 bits.
STORAGES = {"float16": "HalfStorage", "float32": "FloatStorage", "uint16": "BFloat16Storage"}

_EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    if value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little")


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(integer(value) for value in values) + b"t"


def tensor(
    key: str,
    storage: str,
    numel: int,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> bytes:
    """`_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks)`."""
    persistent_id = (
        b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu")
    ) + (integer(numel) + b"tQ")
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + persistent_id
        + integer(offset)
        + numbers(shape)
        + numbers(strides)
        + b"\x89"
        + _EMPTY_ORDERED_DICT
        + b"tR"
    )


def state_dict(tensors: Mapping[str, bytes]) -> bytes:
    """The pickle of an OrderedDict with the `_metadata` that Module.state_dict() gives it."""
    items = b"".join(text(name) + value for name, value in tensors.items())
    metadata = b"}" + text("_metadata") + _EMPTY_ORDERED_DICT + b"s"
    return b"\x80\x02" + _EMPTY_ORDERED_DICT + b"(" + items + b"u" + metadata + b"b."


def write_archive(path: Path, pickled: bytes, storages: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickled)
        archive.writestr(f"{path.stem}/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"{path.stem}/data/{key}", data)
        archive.writestr(f"{path.stem}/version", b"3\n")


def save(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Every second matrix is stored transposed, as torch does for one that is a transposed view."""
    pickled: dict[str, bytes] = {}
    storages: dict[str, bytes] = {}
    for number, (name, values) in enumerate(tensors.items()):
        key = str(number)
        strides = tuple(stride // values.itemsize for stride in values.strides)
        stored = values
        if values.ndim == 2 and number % 2:
            stored, strides = np.ascontiguousarray(values.T), (1, values.shape[0])
        storages[key] = stored.tobytes()
        storage = STORAGES[values.dtype.name]
        pickled[name] = tensor(key, storage, values.size, 0, values.shape, strides)
    write_archive(path, state_dict(pickled), storages)
