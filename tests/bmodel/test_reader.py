"""The .bmodel reader: what is written is read, and a file that is none is refused by a sentence."""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from support.bmodel_files import part, tensor, write_bmodel
from support.bmodel_nets import Glm
from support.flatbuffer_file import Fields, Fixed, write_flatbuffer

from glmd.bmodel.features import read_features
from glmd.bmodel.flatbuffer import Buffer, Malformed, Table
from glmd.bmodel.nets import Memory, Net, Stage, Weight
from glmd.bmodel.reader import HEADER, MAGIC, read_bmodel
from glmd.errors import ModelError


def tables_of(path: Path) -> int:
    """Bytes up to the end of the tables."""
    _, header, tables, _ = HEADER.unpack(path.read_bytes()[: HEADER.size])
    return int(header + tables)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_what_is_written_is_read(tmp_path: Path, devices: int) -> None:
    nets = Glm(devices=devices, heads=(), addr_mode="io_alone").nets()
    path = write_bmodel(tmp_path / "model.bmodel", nets, devices=devices)
    bmodel = read_bmodel(path)
    assert bmodel.nets == tuple(nets)
    assert (bmodel.path, bmodel.nbytes) == (path, path.stat().st_size)
    assert (bmodel.version, bmodel.chip) == ("B.2.2+v1.30.2", "BM1684X")
    assert (bmodel.created, bmodel.devices) == ("Wed Nov 25 12:00:00 2026", devices)
    assert bmodel.net("block_1") == nets[4]
    assert bmodel.net("block_2") is None


@pytest.mark.parametrize("said", [2, 65, 0xFFFFFFFF])
def test_devices_that_the_nets_are_not_for(tmp_path: Path, said: int) -> None:
    nets = Glm(devices=4, heads=()).nets()
    path = write_bmodel(tmp_path / "model.bmodel", nets, devices=said)
    with pytest.raises(ModelError, match=f"are not for the {said} devices that it names"):
        read_bmodel(path)


def test_stages_and_dynamic_nets(tmp_path: Path) -> None:
    nets = Glm(stages=True).nets()
    bmodel = read_bmodel(write_bmodel(tmp_path / "model.bmodel", nets))
    assert bmodel.nets == tuple(nets)
    assert len(bmodel.nets[0].stages) == 2
    greedy = bmodel.net("greedy_head")
    assert greedy is not None
    assert greedy.stages[0].dynamic


def test_parts_of_one_device_follow_each_other(tmp_path: Path) -> None:
    """An all-reduce between two devices makes a net of three steps, each piece with weights."""
    inputs = tuple(tensor("x", "f16", 1, 64, device=device) for device in (0, 1))
    parts = tuple(
        part(
            [Weight("tpu.MatMul.weight", 4096)], device=device, step=step, digest=f"{device}{step}"
        )
        for step in (0, 1)
        for device in (0, 1)
    )
    written = Net("block_0", "io_alone", (Stage(inputs, inputs, False, parts),))
    bmodel = read_bmodel(write_bmodel(tmp_path / "model.bmodel", [written], devices=2))
    assert [(p.device, p.step) for p in bmodel.nets[0].stages[0].parts] == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]
    assert bmodel.memory(0).weights == bmodel.memory(1).weights == 8192
    assert len(bmodel.nets[0].stages[0].on(1).parts) == 2


def test_memory_counts_equal_weights_once_and_shares_the_rest(tmp_path: Path) -> None:
    x = [tensor("x", "f16", 1, 64)]
    weight = [Weight("tpu.MatMul.weight", 4096)]
    stages = [
        Stage((x[0],), (x[0],), False, (part(weight, digest=digest),)) for digest in ("a", "a", "b")
    ]
    nets = [Net(f"net_{n}", "basic", (stage,)) for n, stage in enumerate(stages)]
    memory = read_bmodel(write_bmodel(tmp_path / "model.bmodel", nets)).memory()
    assert memory == Memory(weights=8192, instructions=3 * 384, runtime=8192)
    assert memory.total == 8192 + 3 * 384 + 8192


def test_only_header_and_tables_are_read(tmp_path: Path) -> None:
    """A file of 12 GB, of which the disk holds the first kilobytes."""
    path = write_bmodel(tmp_path / "model.bmodel", Glm().nets())
    header = HEADER.unpack(path.read_bytes()[: HEADER.size])
    with path.open("r+b") as file:
        file.write(HEADER.pack(*header[:3], 12 << 30))
        file.truncate(tables_of(path) + (12 << 30))
    tracemalloc.start()
    try:
        read_features(read_bmodel(path))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a bmodel: it is empty"),
        (bytes(5000), "is not a bmodel: it begins with zeros"),
        (b"GLMDPACK" + bytes(5000), "is not a bmodel."),
        (HEADER.pack(0xFF55AAFF, 64, 100, 100) + bytes(200), "is not a bmodel."),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer"),
        (HEADER.pack(MAGIC, 96, 100, 100) + bytes(400), "is encrypted or of another format"),
        (HEADER.pack(MAGIC, 64, 100, 100) + bytes(199), "was cut short: it has 263 bytes of 264"),
        (HEADER.pack(MAGIC, 64, 0, 1 << 63) + bytes(199), "was cut short"),
        (HEADER.pack(MAGIC, 64, 100, 100) + bytes(200), "is damaged"),
    ],
)
def test_what_is_no_bmodel(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "model.bmodel"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=sentence) as refused:
        read_bmodel(path)
    assert refused.value.message.startswith(str(path))
    assert refused.value.hint


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ModelError, match="cannot be read"):
            read_bmodel(path)


def test_enormous_tables_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.bmodel"
    with path.open("wb") as file:
        file.write(HEADER.pack(MAGIC, 64, 0xFFFFFFFF, 0))
        file.truncate(5 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="its tables have 4294967295 bytes"):
            read_bmodel(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = write_bmodel(tmp_path / "model.bmodel", Glm(layers=1).nets())
    size = path.stat().st_size
    for end in sorted({*range(0, 64), *range(64, tables_of(path), 41), size - 1}, reverse=True):
        os.truncate(path, end)
        with pytest.raises(ModelError):
            read_bmodel(path)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_changed_byte_gives_a_sentence_or_nets(tmp_path: Path, devices: int) -> None:
    """Never another error, and never more memory than some times the tables."""
    path = write_bmodel(
        tmp_path / "model.bmodel", Glm(layers=1, heads=(), devices=devices).nets(), devices=devices
    )
    whole = path.read_bytes()[: tables_of(path)]
    rng = random.Random(7)
    outcomes = {"refused": 0, "read": 0}
    tracemalloc.start()
    try:
        with path.open("r+b") as file:
            for _ in range(500):
                broken = bytearray(whole)
                for _ in range(rng.choice((1, 1, 3))):
                    place = rng.randrange(len(broken))
                    width = rng.choice((1, 1, 2, 4, 8))
                    value = rng.choice((0, 1, 0xFF, 0x7FFFFFFF, 1 << 63, rng.getrandbits(64)))
                    octets = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
                    broken[place : place + width] = octets[: len(broken) - place]
                file.seek(0)
                file.write(broken)
                file.flush()
                try:
                    bmodel = read_bmodel(path)
                    for device in range(bmodel.devices):
                        assert bmodel.memory(device).total >= 0
                    read_features(bmodel)
                    outcomes["read"] += 1
                except ModelError:
                    outcomes["refused"] += 1
        assert tracemalloc.get_traced_memory()[1] < 64 * len(whole)
    finally:
        tracemalloc.stop()
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:3],
        lambda data: b"\xff\xff\xff\x7f" + data[4:],
        lambda data: b"\x00\x00\x00\x00" + data[4:],
    ],
)
def test_offsets_beside_the_buffer(spoil: Callable[[bytes], bytes]) -> None:
    data = spoil(write_flatbuffer({0: "text", 1: [1, 2, 3]}))
    with pytest.raises(Malformed):
        Buffer(data).root().string(0)


def test_tables_that_repeat_one_another_come_to_an_end() -> None:
    """Lists whose offsets all point at one table, which has such a list itself: a billion tables in
    some kilobytes."""
    root: Fields = {}
    for _ in range(3):
        root = {0: [root] * 1000}

    def count(table: Table) -> int:
        return 1 + sum(count(child) for child in table.tables(0))

    data = write_flatbuffer(root)
    assert len(data) < 20_000
    with pytest.raises(Malformed, match="repeat one another"):
        count(Buffer(data).root())


def test_a_list_of_too_many_dims() -> None:
    root: Fields = {0: [1] * 9}
    with pytest.raises(Malformed, match="at most 8 in it has 9"):
        Buffer(write_flatbuffer(root)).root().u64s(0, 8)


def test_what_a_table_has_not_is_its_default() -> None:
    table = Buffer(write_flatbuffer({1: Fixed(bytes(16))})).root()
    assert (table.u32(0), table.i32(7), table.u64(1000)) == (0, 0, 0)
    assert (table.string(0), table.octets(0), table.tables(0)) == ("", b"", [])
    assert table.table(0) is None
