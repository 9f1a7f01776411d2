"""Bmodel files with the tables of real ones and next to nothing behind them; field ids are those of
TPU-MLIR's bmodel.fbs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from support.flatbuffer_file import Fields, Fixed, write_flatbuffer

from glmd.bmodel.nets import AddrMode, Net, Part, Stage, Tensor, Weight
from glmd.bmodel.reader import ADDR_MODES, DTYPES, HEADER, MAGIC

_SIZES = {"f32": 4, "i32": 4, "f16": 2}


def tensor(name: str, dtype: str, *shape: int, device: int = 0) -> Tensor:
    count = 1
    for size in shape:
        count *= size
    return Tensor(name, dtype, shape, count * _SIZES[dtype], device)


def part(
    weights: Sequence[Weight] = (), *, device: int = 0, step: int = 0, digest: str = ""
) -> Part:
    nbytes = sum(weight.nbytes for weight in weights)
    return Part(device, step, tuple(weights), nbytes, digest.encode(), 384, 8192, 0)


def net(
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    weights: Sequence[Weight] = (),
    *,
    addr_mode: AddrMode = "basic",
    dynamic: bool = False,
) -> Net:
    """One stage, on as many devices as the tensors name; it has those of the first device first."""
    devices = sorted({tensor.device for tensor in inputs})
    inputs, outputs = (sorted(ports, key=lambda port: port.device) for ports in (inputs, outputs))
    parts = tuple(part(weights, device=device, digest=f"{name} {device}") for device in devices)
    return Net(name, addr_mode, (Stage(tuple(inputs), tuple(outputs), dynamic, parts),))


def write_bmodel(
    path: Path, nets: Sequence[Net], *, chip: str = "BM1684X", devices: int = 1
) -> Path:
    pieces = [piece for net in nets for piece in _pieces(net, devices)]
    binaries = (
        max(
            (part.weight_bytes for net in nets for stage in net.stages for part in stage.parts),
            default=0,
        )
        + 512
    )
    tables = write_flatbuffer(
        {
            0: "B",
            1: "2.2+v1.30.2",
            2: "Wed Nov 25 12:00:00 2026\n",
            3: chip,
            4: pieces,
            6: {0: "libbm1684x_kernel_module.so", 1: _binary(64)},
            7: devices,
        }
    )
    with path.open("wb") as file:
        file.write(HEADER.pack(MAGIC, HEADER.size, len(tables), binaries) + tables)
        file.truncate(HEADER.size + len(tables) + binaries)
    return path


def _pieces(net: Net, devices: int) -> list[Fields]:
    """With several devices, one a device and step, each with the tensors of its own."""
    if devices == 1:
        stages: list[Fields] = [_parameter(stage, stage.parts[0]) for stage in net.stages]
        return [{0: net.name, 3: stages, 5: ADDR_MODES.index(net.addr_mode)}]
    (stage,) = net.stages
    return [
        {
            0: f"{net.name}_{number}",
            3: [_parameter(stage.on(part.device), part, cascade=True)],
            4: {0: part.device, 1: part.step, 2: net.name},
            5: ADDR_MODES.index(net.addr_mode),
        }
        for number, part in enumerate(stage.parts)
    ]


def _parameter(stage: Stage, part: Part, *, cascade: bool = False) -> Fields:
    def tensors(found: Sequence[Tensor], role: int) -> list[Fields]:
        return [
            {
                0: tensor.name,
                1: DTYPES.index(tensor.dtype),
                4: tensor.nbytes,
                5: [{0: list(tensor.shape)}],
                11: role if cascade else 0,
                12: number,
            }
            for number, tensor in enumerate(found)
        ]

    fields: Fields = {
        0: tensors(stage.inputs, 1),
        1: tensors(stage.outputs, 2),
        3: part.neuron_bytes,
        5: int(stage.dynamic),
        12: [{0: 0, 1: [{2: _binary(part.instruction_bytes), 3: _binary(0)}]}],
        18: part.io_bytes,
    }
    if part.digest:
        locations: list[Fields] = [{0: w.operation, 2: w.nbytes} for w in part.weights]
        fields[4] = {1: part.digest, 2: _binary(part.weight_bytes), 3: locations}
    return fields


def _binary(nbytes: int) -> Fixed:
    return Fixed((0).to_bytes(8, "little") + nbytes.to_bytes(8, "little"))
