"""The .bmodel file: a header, tables, and the binaries that the tables point into.

    0   64 bytes, little-endian:
          4  magic 0xFF55AAEE
          4  bytes of this header, 64; another number where the file is encrypted
          4  bytes of the tables
          8  bytes of the binaries
         44  zero
    64  the tables, a FlatBuffer
        the binaries: firmware, weights, instructions

Source of the format, field ids included: bmodel.fbs and bmodel.hpp, which the tpu_mlir package
carries under include/tpu_mlir/Builder/BM168x, and tpu-bmodel/ in github.com/sophgo/libsophon. Only
header and tables are read, a few megabytes whatever the size of the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from glmd.bmodel.flatbuffer import Buffer, Malformed, Table
from glmd.bmodel.nets import AddrMode, Bmodel, Net, Part, Stage, Tensor, Weight
from glmd.checkpoint.stored import open_failed, refuse_lfs_pointer
from glmd.errors import ModelError

MAGIC = 0xFF55AAEE
HEADER = struct.Struct("<IIIQ44x")

# By number, as bmdef.h of libsophon has them.
DTYPES = ("f32", "f16", "i8", "u8", "i16", "u16", "i32", "u32", "bf16", "i4", "u4")

# By number, as bmodel.fbs and model_deploy have them.
ADDR_MODES: tuple[AddrMode, ...] = (
    "basic",
    "io_alone",
    "io_tag",
    "io_tag_fuse",
    "io_reloc",
    "in_reuse",
)

# 61 nets of a ChatGLM3-6B have about a megabyte.
_LARGEST_TABLES = 64 << 20
_MOST_DIMS = 8
_MOST_DEVICES = 64

_BINARY = struct.Struct("<QQ")
_AGAIN = "Copy or compile it again."


def read_bmodel(path: Path) -> Bmodel:
    """Raises ModelError with a sentence that says what is wrong with the file."""
    refuse_lfs_pointer(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            tables, binaries = _check_header(path, file.read(HEADER.size), size)
            data = file.read(tables)
    except OSError as error:
        raise open_failed(path, error) from error
    try:
        return _Reader(path, size, binaries).bmodel(Buffer(data).root())
    except Malformed as error:
        raise ModelError(f"{path} is damaged: {error}.", hint=_AGAIN) from error


def _check_header(path: Path, header: bytes, size: int) -> tuple[int, int]:
    """Bytes of the tables and of the binaries."""
    if len(header) < HEADER.size or HEADER.unpack(header)[0] != MAGIC:
        why = "" if any(header) else ": it is empty" if not size else ": it begins with zeros"
        raise ModelError(
            f"{path} is not a bmodel{why}.",
            hint="Give a file that `glmd compile` or TPU-MLIR made; if it is one, copy it again.",
        )
    _, own, tables, binaries = HEADER.unpack(header)
    if own != HEADER.size:
        raise ModelError(
            f"{path} is encrypted or of another format: its header has {own} bytes, where "
            f"{HEADER.size} were expected.",
            hint="Compile it without encryption.",
        )
    if (whole := own + tables + binaries) > size:
        raise ModelError(
            f"{path} was cut short: it has {size} bytes of {whole}.", hint="Copy it again."
        )
    if tables > _LARGEST_TABLES:
        raise ModelError(f"{path} is damaged: its tables have {tables} bytes.", hint=_AGAIN)
    return tables, binaries


@dataclass(frozen=True)
class _Piece:
    """A net as it stands in the file. With several devices each runs pieces of its own, and `main`
    is the net they are parts of."""

    name: str
    main: str
    device: int
    step: int
    addr_mode: AddrMode
    parameters: tuple[Table, ...]


class _Reader:
    """The field ids are those of bmodel.fbs."""

    def __init__(self, path: Path, size: int, binaries: int) -> None:
        self._path = path
        self._size = size
        self._binaries = binaries

    def bmodel(self, model: Table) -> Bmodel:
        pieces = [self._piece(net) for net in model.tables(4)]
        if not pieces:
            raise Malformed("it has no nets")
        groups: dict[str, list[_Piece]] = {}
        for piece in pieces:
            groups.setdefault(piece.main or piece.name, []).append(piece)
        devices = max(model.u32(7), 1)
        if devices > _MOST_DEVICES or any(piece.device >= devices for piece in pieces):
            raise Malformed(f"its nets are not for the {devices} devices that it names")
        if kernel := model.table(6):
            self._extent(kernel, 1)
        return Bmodel(
            path=self._path,
            nbytes=self._size,
            version=f"{model.string(0)}.{model.string(1)}",
            chip=model.string(3),
            created=model.string(2).strip(),
            devices=devices,
            nets=tuple(self._net(name, group) for name, group in groups.items()),
        )

    def _piece(self, net: Table) -> _Piece:
        parameters = tuple(net.tables(3))
        if not parameters:
            raise Malformed(f"its net {net.string(0)} has nothing to run")
        cascade = net.table(4)
        main, device, step = (
            (cascade.string(2), cascade.u32(0), cascade.u32(1)) if cascade else ("", 0, 0)
        )
        if not 0 <= (mode := net.i32(5)) < len(ADDR_MODES):
            raise Malformed(f"its net {net.string(0)} has the addr_mode {mode}")
        return _Piece(net.string(0), main, device, step, ADDR_MODES[mode], parameters)

    def _net(self, name: str, pieces: list[_Piece]) -> Net:
        first = pieces[0]
        stages = (
            [self._cascade(pieces)]
            if first.main
            else [self._stage(parameter) for piece in pieces for parameter in piece.parameters]
        )
        return Net(name, first.addr_mode, tuple(stages))

    def _stage(self, parameter: Table) -> Stage:
        return Stage(
            inputs=tuple(self._tensor(tensor) for tensor in parameter.tables(0)),
            outputs=tuple(self._tensor(tensor) for tensor in parameter.tables(1)),
            dynamic=parameter.i32(5) != 0,
            parts=(self._part(parameter, 0, 0),),
        )

    def _cascade(self, pieces: list[_Piece]) -> Stage:
        """One stage on several devices. Of the tensors between the pieces only some are the net's
        own, which field 11 says (odd: an input, even: an output), with their order in field 12."""
        inputs: list[tuple[int, int, Tensor]] = []
        outputs: list[tuple[int, int, Tensor]] = []
        for piece in pieces:
            parameter = piece.parameters[0]
            for tensor in chain(parameter.tables(0), parameter.tables(1)):
                if role := tensor.i32(11):
                    found = (piece.device, tensor.i32(12), self._tensor(tensor, piece.device))
                    (inputs if role % 2 else outputs).append(found)
        return Stage(
            inputs=_in_order(inputs),
            outputs=_in_order(outputs),
            dynamic=any(piece.parameters[0].i32(5) != 0 for piece in pieces),
            parts=tuple(
                self._part(piece.parameters[0], piece.device, piece.step) for piece in pieces
            ),
        )

    def _tensor(self, tensor: Table, device: int = 0) -> Tensor:
        name, number = tensor.string(0), tensor.u32(1)
        shapes = tensor.tables(5)
        if not shapes:
            raise Malformed(f"its tensor {name} has no shape")
        dtype = DTYPES[number] if number < len(DTYPES) else f"type {number}"
        return Tensor(name, dtype, shapes[0].u64s(0, _MOST_DIMS), tensor.u64(4), device)

    def _part(self, parameter: Table, device: int, step: int) -> Part:
        weights = parameter.table(4)
        return Part(
            device=device,
            step=step,
            weights=tuple(
                Weight(location.string(0), location.u64(2)) for location in weights.tables(3)
            )
            if weights
            else (),
            weight_bytes=self._extent(weights, 2) if weights else 0,
            digest=weights.octets(1) if weights else b"",
            instruction_bytes=sum(self._instructions(subnet) for subnet in parameter.tables(12)),
            neuron_bytes=parameter.u64(3),
            io_bytes=parameter.u64(18),
        )

    def _instructions(self, subnet: Table) -> int:
        if subnet.i32(5):
            return 4 * subnet.u32(7)
        groups: Iterable[Table] = subnet.tables(1) or (
            group for core in subnet.tables(14) for group in core.tables(0)
        )
        return sum(self._extent(group, 2) + self._extent(group, 3) for group in groups)

    def _extent(self, table: Table, field: int) -> int:
        """Bytes of a binary, which has to lie inside the file."""
        start, nbytes = table.fixed(_BINARY, field) or (0, 0)
        if start + nbytes > self._binaries:
            raise Malformed("a binary in it ends behind its end")
        return nbytes


def _in_order(found: list[tuple[int, int, Tensor]]) -> tuple[Tensor, ...]:
    return tuple(tensor for _, _, tensor in sorted(found, key=lambda entry: entry[:2]))
