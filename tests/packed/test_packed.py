"""Packed files: what is written is mapped back, and a broken file is refused by a sentence."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.checkpoints import Shape

from glmd.checkpoint.config import parse_config
from glmd.checkpoint.names import tensor_shapes
from glmd.checkpoint.source import open_model
from glmd.errors import ModelError
from glmd.packed import ALIGNMENT, PackedModel, PackedTensor, PackedWriter, is_packed

CONFIG = Shape(layers=1, hidden=8, heads=2, kv_heads=1, head_dim=4, ffn=12, vocab=16).config()
SHAPES = tensor_shapes(parse_config(CONFIG, Path("config.json")))
PIECES = b"a sentencepiece model"


def tensors() -> list[PackedTensor]:
    """Any bytes will do here: only the kernels know what a layout means."""
    made = []
    for number, (name, shape) in enumerate(SHAPES.items()):
        rng = np.random.default_rng(number)
        if len(shape) == 1:
            data = rng.standard_normal(shape, dtype=np.float32).view(np.uint8)
            made.append(PackedTensor(name, "f32", 1, shape[0], data))
        else:
            data = rng.integers(0, 256, 37 + number, dtype=np.uint8)
            made.append(PackedTensor(name, "int8", *shape, data))
    return made


def write(path: Path, content: list[PackedTensor] | None = None) -> Path:
    with PackedWriter(
        path, config=CONFIG, mode="int8", source="chatglm3-tiny", tokenizer=PIECES
    ) as writer:
        for tensor in content or tensors():
            writer.add(tensor)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    model = PackedModel.open(write(tmp_path / "model.glmd"))
    assert model.config == parse_config(CONFIG, Path("config.json"))
    assert model.mode == "int8"
    assert model.source == "chatglm3-tiny"
    assert model.tokenizer() == PIECES
    assert model.nbytes == sum(tensor.data.nbytes for tensor in tensors())
    read = list(model.tensors())
    for expected, found in zip(tensors(), read, strict=True):
        assert (found.name, found.kind) == (expected.name, expected.kind)
        assert (found.rows, found.cols) == (expected.rows, expected.cols)
        np.testing.assert_array_equal(found.data, expected.data)
        assert found.data.ctypes.data % ALIGNMENT == 0
        assert not found.data.flags.writeable
        assert not found.data.flags.owndata


def test_views_outlive_the_model_and_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.glmd")
    views = list(PackedModel.open(path).tensors())
    path.unlink()
    for expected, found in zip(tensors(), views, strict=True):
        np.testing.assert_array_equal(found.data, expected.data)


def test_it_opens_as_a_model(tmp_path: Path) -> None:
    path = write(tmp_path / "model.glmd")
    assert is_packed(path)
    assert not is_packed(tmp_path)
    assert not is_packed(tmp_path / "nothing")
    assert isinstance(open_model(path), PackedModel)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "model.glmd")
    before = path.read_bytes()

    def interrupted() -> None:
        with PackedWriter(path, config=CONFIG, mode="int4", source="", tokenizer=b"") as writer:
            writer.add(tensors()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_appears_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.glmd"
    with PackedWriter(
        path, config=CONFIG, mode="int8", source="chatglm3-tiny", tokenizer=PIECES
    ) as writer:
        for tensor in tensors():
            writer.add(tensor)
            assert not path.exists()
    assert list(tmp_path.iterdir()) == [path]


def test_a_mapped_model_survives_its_replacement(tmp_path: Path) -> None:
    path = write(tmp_path / "model.glmd")
    model = PackedModel.open(path)
    write(path, [PackedTensor(t.name, t.kind, t.rows, t.cols, t.data * 0) for t in tensors()])
    for expected, found in zip(tensors(), model.tensors(), strict=True):
        np.testing.assert_array_equal(found.data, expected.data)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.glmd")
    whole = path.read_bytes()
    ends = {0, 1, 7, 8, 12, 63, 64, 65, ALIGNMENT, len(whole) - 1}
    ends |= set(range(0, len(whole), len(whole) // 100))
    for end in sorted(ends):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelError) as refused:
            PackedModel.open(path)
        assert str(path) in refused.value.message
        assert refused.value.hint


def test_any_flipped_bit_of_preamble_and_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.glmd")
    whole = path.read_bytes()
    start = struct.unpack_from("<Q", whole, 16)[0]
    checked = [*range(12), *range(16, 64), *range(start, len(whole))]
    rng = random.Random(3)
    for position in [*range(12), *range(16, 64), *rng.sample(checked, 300)]:
        broken = bytearray(whole)
        broken[position] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(ModelError, match=r"model\.glmd"):
            PackedModel.open(path)


def with_header(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A file whose header was changed by someone who knows how to make the checksum."""
    whole = write(path).read_bytes()
    magic, version, zero, offset, length, _ = struct.unpack_from("<8sIIQQ32s", whole)
    header = json.loads(whole[offset : offset + length])
    change(header)
    text = json.dumps(header).encode()
    digest = hashlib.sha256(text).digest()
    preamble = struct.pack("<8sIIQQ32s", magic, version, zero, offset, len(text), digest)
    path.write_bytes(preamble + whole[64:offset] + text)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h.update(mode="int2"), "int2"),
        (lambda h: h.update(tensors={}), "header is not understood"),
        (lambda h: h.pop("tokenizer"), "tokenizer"),
        (lambda h: h["config"].update(model_type="llama"), "model_type"),
        (lambda h: h["config"].update(num_layers=2), "not those of its config"),
        (lambda h: h["tensors"].pop(), "not those of its config"),
        (lambda h: h["tensors"].append(h["tensors"][0]), "not those of its config"),
        (lambda h: h["tensors"][0].update(rows=17), "another shape"),
        (lambda h: h["tensors"][0].update(kind="f32"), "another shape"),
        (lambda h: h["tensors"][1].update(kind="int8"), "another shape"),
        (lambda h: h["tensors"][1].update(nbytes=4), "has 4 bytes"),
        (lambda h: h["tensors"][0].update(offset=64), "outside the file"),
        (lambda h: h["tensors"][0].update(offset=0), "outside the file"),
        (lambda h: h["tensors"][0].update(offset=-4096), "outside the file"),
        (lambda h: h["tensors"][0].update(offset=1 << 40), "outside the file"),
        (lambda h: h["tensors"][0].update(nbytes=1 << 40), "outside the file"),
        (lambda h: h["tensors"][0].update(nbytes=-1), "outside the file"),
        (lambda h: h["tokenizer"].update(offset=1 << 40), "tokenizer lies outside"),
    ],
)
def test_a_header_that_lies_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    path = with_header(tmp_path / "model.glmd", change)
    with pytest.raises(ModelError, match=r"model\.glmd") as refused:
        PackedModel.open(path)
    assert said in refused.value.message


def test_another_version_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "model.glmd")
    whole = bytearray(path.read_bytes())
    whole[8] = 2
    path.write_bytes(whole)
    with pytest.raises(ModelError, match="version 2 of the packed format, where 1 is expected"):
        PackedModel.open(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        PackedModel.open(tmp_path / "nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        PackedModel.open(tmp_path)
