"""Headers of .bin files as torch.save writes them since torch 1.6: a zip with the pickle
NAME/data.pkl and one uncompressed file NAME/data/KEY for each storage.

Source of the format: torch/serialization.py.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from glmd.checkpoint.stored import NUMPY_DTYPES, StoredTensor, open_failed, refuse_lfs_pointer
from glmd.checkpoint.unpickler import Malformed, PickledTensor, load_tensors
from glmd.errors import ModelError

# A shard of ChatGLM3-6B has 20 kB.
_LARGEST_PICKLE = 64 << 20

# What zipfile raises for a directory that makes no sense.
_ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error)

_TRUNCATED = "It was probably cut short: download it again."


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of a file. Raises ModelError if it is truncated, not a dict of tensors, or asks
    for anything to be run."""
    refuse_lfs_pointer(path)
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise _not_a_zip(path, file)
            archive = _Archive.open(file)
            tensors = load_tensors(archive.pickle())
            return {name: archive.locate(path, name, tensor) for name, tensor in tensors.items()}
    except OSError as error:
        raise open_failed(path, error) from error
    except _ZIP_ERRORS as error:
        raise ModelError(f"{path} is a damaged zip file ({error}).", hint=_TRUNCATED) from error
    except Malformed as error:
        raise ModelError(
            f"{path} was refused: {error}.",
            hint="glmd reads plain tensors and runs nothing; convert other files to safetensors.",
        ) from error


def _not_a_zip(path: Path, file: BinaryIO) -> ModelError:
    file.seek(0)
    if file.read(2) == b"\x80\x02":
        return ModelError(
            f"{path} is in the format that torch used before 1.6.",
            hint="Load and save it again with a newer torch, or convert it to safetensors.",
        )
    return ModelError(f"{path} is not a whole torch file.", hint=_TRUNCATED)


@dataclass(frozen=True)
class _Archive:
    file: BinaryIO
    entries: dict[str, zipfile.ZipInfo]
    size: int

    @classmethod
    def open(cls, file: BinaryIO) -> _Archive:
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise Malformed("it has no data.pkl, which torch.save writes")
            prefix = pickles[0].removesuffix("data.pkl")
            entries = {info.filename.removeprefix(prefix): info for info in archive.infolist()}
        return cls(file, entries, file.seek(0, 2))

    def pickle(self) -> bytes:
        if "byteorder" in self.entries and self._read("byteorder") != b"little":
            raise Malformed("its numbers are big-endian")
        return self._read("data.pkl")

    def _read(self, name: str) -> bytes:
        start, size = self._span(name)
        if size > _LARGEST_PICKLE:
            raise Malformed(f"its {name} is larger than that of any checkpoint")
        self.file.seek(start)
        return self.file.read(size)

    def _span(self, name: str) -> tuple[int, int]:
        """Offset in the file and length in bytes of an uncompressed entry."""
        info = self.entries.get(name)
        if info is None:
            raise Malformed(f"it has no {name}, although its pickle refers to it")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Malformed(f"its {name} is compressed or encrypted, which torch.save never does")
        # The local header has its own name and extra field, with torch's padding in the latter.
        self.file.seek(info.header_offset)
        local = self.file.read(30)
        if len(local) < 30 or local[:4] != b"PK\3\4":
            raise Malformed(f"its zip directory points beside {name}")
        name_length, extra_length = struct.unpack("<HH", local[26:30])
        start = info.header_offset + 30 + name_length + extra_length
        if start + info.file_size > self.size:
            raise Malformed(f"its {name} ends behind the end of the file")
        return start, info.file_size

    def locate(self, path: Path, name: str, tensor: PickledTensor) -> StoredTensor:
        storage = tensor.storage
        start, size = self._span(f"data/{storage.key}")
        itemsize = np.dtype(NUMPY_DTYPES[storage.dtype]).itemsize
        last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        if 0 not in tensor.shape and (tensor.offset + last + 1) * itemsize > size:
            raise Malformed(f"{name!r} is larger than its storage")
        offset = start + tensor.offset * itemsize
        return StoredTensor(path, storage.dtype, tensor.shape, tensor.strides, offset)
