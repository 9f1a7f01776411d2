"""The packed-model file: a ChatGLM3 as the CPU kernels read it, mapped instead of loaded.

Everything little-endian. In this order:

    0       preamble, 64 bytes:
              8  magic "GLMDPACK"
              4  version of the format and of the kernels' layouts, now 1
              4  zero
              8  offset of the header
              8  length of the header
             32  SHA-256 of the header
    4096    the tensors, each at a multiple of 4096
            the tokenizer: a sentencepiece model
            the header, up to the end of the file, JSON:
              {"config": the checkpoint's config.json, "mode": "f16" | "int8" | "int4",
               "source": what it was made from, "tokenizer": {"offset", "nbytes"},
               "tensors": [{"name", "kind", "rows", "cols", "offset", "nbytes"}, …]}

Tensors have the names of the checkpoint. `kind` is "f32" for a vector (rows 1), and for a matrix
one of the layouts in daemon/native/cpu/packing.h. The header comes last, because sizes are known
once the data is written; a file that was cut short has none. The tokenizer is inside, so that one
file is a whole model.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from glmd.checkpoint.config import ModelConfig, parse_config
from glmd.checkpoint.names import tensor_shapes
from glmd.errors import ModelError

MAGIC = b"GLMDPACK"
VERSION = 1
ALIGNMENT = 4096
VECTOR = "f32"

Mode = Literal["f16", "int8", "int4"]

_PREAMBLE = struct.Struct("<8sIIQQ32s")

_REPACK = "Make it again from the checkpoint with this version of glmd."


@dataclass(frozen=True)
class PackedTensor:
    """`data`: uint8, the bytes of a matrix [rows, cols] in the layout `kind`, or of a vector."""

    name: str
    kind: str
    rows: int
    cols: int
    data: NDArray[np.uint8]


class _Extent(msgspec.Struct, frozen=True):
    offset: int
    nbytes: int


class _Entry(msgspec.Struct, frozen=True):
    name: str
    kind: str
    rows: int
    cols: int
    offset: int
    nbytes: int


class _Header(msgspec.Struct, frozen=True):
    config: dict[str, Any]
    mode: Mode
    source: str
    tokenizer: _Extent
    tensors: list[_Entry]


def is_packed(path: Path) -> bool:
    """Whether `path` is a file that begins like a packed model."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class PackedModel:
    """A mapped packed file whose header was checked.

    The file must not be changed in place while it is mapped: rename another one over it instead.
    """

    def __init__(self, path: Path, mapping: mmap.mmap) -> None:
        self.path = path
        self._mapping = mapping
        self._header, self.config = _read_header(path, mapping)
        self.mode: Mode = self._header.mode
        self.source = self._header.source

    @classmethod
    def open(cls, path: Path) -> PackedModel:
        """Raises ModelError with a sentence that says what is wrong with the file."""
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < _PREAMBLE.size:
                    raise _damaged(path, f"it has not even the {_PREAMBLE.size} bytes of a start")
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelError(
                f"{path} cannot be read: {error.strerror or error}.",
                hint="Check that the file exists and that you may read it.",
            ) from error
        return cls(path, mapping)

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        return sum(entry.nbytes for entry in self._header.tensors)

    def tensors(self) -> Iterator[PackedTensor]:
        """Read-only views of the mapping, which lives as long as one of them does.

        The kernel is asked to read the file meanwhile, which is quicker than page by page later.
        """
        self._mapping.madvise(mmap.MADV_WILLNEED)
        everything = np.frombuffer(self._mapping, np.uint8)
        for entry in self._header.tensors:
            data = everything[entry.offset : entry.offset + entry.nbytes]
            yield PackedTensor(entry.name, entry.kind, entry.rows, entry.cols, data)

    def tokenizer(self) -> bytes:
        """The sentencepiece model inside."""
        extent = self._header.tokenizer
        return self._mapping[extent.offset : extent.offset + extent.nbytes]


class PackedWriter:
    """Writes a packed file tensor by tensor; use it as a context manager.

    The file appears under its name when the block ends, whole and on disk; if the block raises,
    nothing is left behind. Raises OSError where the disk does.
    """

    def __init__(
        self, path: Path, *, config: Mapping[str, Any], mode: Mode, source: str, tokenizer: bytes
    ) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._config = dict(config)
        self._mode: Mode = mode
        self._source = source
        self._tokenizer = tokenizer
        self._entries: list[_Entry] = []

    def __enter__(self) -> PackedWriter:
        self._file = self._temporary.open("wb")
        self._file.write(bytes(_PREAMBLE.size))
        return self

    def add(self, tensor: PackedTensor) -> None:
        extent = self._append(tensor.data.data)
        shape = tensor.name, tensor.kind, tensor.rows, tensor.cols
        self._entries.append(_Entry(*shape, extent.offset, extent.nbytes))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._finish()
                self._temporary.replace(self._path)
                _sync_folder(self._path.parent)
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _append(self, data: memoryview | bytes) -> _Extent:
        self._file.write(bytes(-self._file.tell() % ALIGNMENT))
        extent = _Extent(self._file.tell(), len(data))
        self._file.write(data)
        return extent

    def _finish(self) -> None:
        tokenizer = self._append(self._tokenizer)
        header = msgspec.json.encode(
            _Header(self._config, self._mode, self._source, tokenizer, self._entries)
        )
        extent = self._append(header)
        digest = hashlib.sha256(header).digest()
        self._file.seek(0)
        self._file.write(_PREAMBLE.pack(MAGIC, VERSION, 0, extent.offset, extent.nbytes, digest))
        self._file.flush()
        os.fsync(self._file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_header(path: Path, mapping: mmap.mmap) -> tuple[_Header, ModelConfig]:
    magic, version, _, offset, length, digest = _PREAMBLE.unpack_from(mapping)
    if magic != MAGIC:
        raise ModelError(
            f"{path} is not a packed model.", hint="Give a packed file or a checkpoint folder."
        )
    if version != VERSION:
        raise ModelError(
            f"{path} has version {version} of the packed format, where {VERSION} is expected.",
            hint=_REPACK,
        )
    if offset + length != len(mapping):
        raise _damaged(path, f"it has {len(mapping)} bytes and should have {offset + length}")
    text = mapping[offset:]
    if hashlib.sha256(text).digest() != digest:
        raise _damaged(path, "its header does not match its checksum")
    try:
        header = msgspec.json.decode(text, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(path, f"its header is not understood ({error})") from error
    config = parse_config(header.config, path)
    _check_extents(path, header, tensor_shapes(config), end=offset)
    return header, config


def _check_extents(
    path: Path, header: _Header, shapes: Mapping[str, tuple[int, ...]], end: int
) -> None:
    """That the tensors are those of the config and lie inside the file."""
    if sorted(entry.name for entry in header.tensors) != sorted(shapes):
        raise _damaged(path, "its tensors are not those of its config")
    for entry in header.tensors:
        shape = shapes[entry.name]
        matrix = len(shape) == 2
        expected = shape if matrix else (1, *shape)
        if (entry.rows, entry.cols) != expected or (entry.kind != VECTOR) != matrix:
            raise _damaged(path, f"{entry.name} has another shape than its config asks for")
        if entry.offset % ALIGNMENT or not _inside(entry, end):
            raise _damaged(path, f"{entry.name} lies outside the file")
        if not matrix and entry.nbytes != 4 * entry.cols:
            raise _damaged(path, f"{entry.name} has {entry.nbytes} bytes")
    if not _inside(header.tokenizer, end):
        raise _damaged(path, "its tokenizer lies outside the file")


def _inside(extent: _Extent | _Entry, end: int) -> bool:
    return extent.nbytes > 0 and _PREAMBLE.size <= extent.offset <= end - extent.nbytes


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(f"{path} is damaged: {what}.", hint=_REPACK)
