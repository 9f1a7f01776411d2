"""Weight files that were cut short or changed: always a ModelError, never another exception."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import torch_file
from support.checkpoints import Shape, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.torch_file import read_header
from glmd.errors import ModelError

TINY = Shape(layers=1, hidden=16, heads=2, kv_heads=1, head_dim=8, ffn=16, vocab=32)


def weights(folder: Path, layout: Any) -> Path:
    write_checkpoint(folder, TINY, layout=layout, tokenizer=None)
    return next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_every_truncation_is_noticed_when_opening(tmp_path: Path, layout: Any) -> None:
    path = weights(tmp_path, layout)
    whole = path.read_bytes()
    ends = {0, 1, 2, 4, 7, 8, 9, 64, len(whole) - 1, len(whole) - 22, len(whole) - 23}
    ends |= set(range(0, len(whole), len(whole) // 200))
    for end in sorted(ends):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelError) as refused:
            Checkpoint.open(tmp_path)
        assert str(path) in refused.value.message
        assert refused.value.hint


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_bytes_behind_the_end(tmp_path: Path, layout: Any) -> None:
    path = weights(tmp_path, layout)
    path.write_bytes(path.read_bytes() + b"\0" * 70_000)
    with pytest.raises(ModelError):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_flipped_bytes_give_a_sentence_or_the_shapes_of_the_config(
    tmp_path: Path, layout: Any
) -> None:
    """Values may change; where they lie, how many there are and what is run may not."""
    path = weights(tmp_path, layout)
    whole = path.read_bytes()
    interesting = (
        range(8 + int.from_bytes(whole[:8], "little"))
        if layout == "safetensors"
        else [*range(whole.index(b"PK\3\4", 4)), *range(whole.index(b"PK\1\2"), len(whole))]
    )
    rng = random.Random(5)
    outcomes = {"refused": 0, "read": 0}
    for position in rng.sample(list(interesting), 600):
        broken = bytearray(whole)
        broken[position] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        try:
            checkpoint = Checkpoint.open(tmp_path)
            for name, tensor in checkpoint.tensors.items():
                assert checkpoint.read(name).shape == tensor.shape
            outcomes["read"] += 1
        except ModelError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 100


def test_the_format_of_torch_before_1_6(tmp_path: Path) -> None:
    path = tmp_path / "old.bin"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    with pytest.raises(ModelError, match=r"old\.bin is in the format that torch used before 1\.6"):
        read_header(path)


def archive(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return path


PICKLE = torch_file.state_dict({"a": torch_file.tensor("0", "HalfStorage", 2000, 0, (2000,), (1,))})
STORAGE = np.zeros(2000, np.float16).tobytes()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"word/document.xml": b""}, "has no data.pkl"),
        ({"a/data.pkl": PICKLE, "b/data.pkl": PICKLE}, "has no data.pkl"),
        ({"a/data.pkl": PICKLE, "b/data/0": STORAGE}, "has no data/0"),
        ({"a/data.pkl": PICKLE, "a/byteorder": b"big", "a/data/0": STORAGE}, "big-endian"),
        ({"a/data.pkl": b"", "a/data/0": STORAGE}, "ends too early"),
        ({"a/data.pkl": b"\x80\x02K\x01."}, "no dict of tensors"),
    ],
)
def test_zip_files_that_torch_did_not_write(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    path = archive(tmp_path / "some.bin", files)
    with pytest.raises(ModelError, match=r"some\.bin was refused") as refused:
        read_header(path)
    assert said in refused.value.message


def test_compressed_storages_are_refused(tmp_path: Path) -> None:
    files = {"a/data.pkl": PICKLE, "a/data/0": STORAGE}
    path = archive(tmp_path / "small.bin", files, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="compressed"):
        read_header(path)


def test_a_version_of_zip_that_does_not_exist(tmp_path: Path) -> None:
    path = weights(tmp_path, "bin")
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"PK\1\2") + 6] = 128
    path.write_bytes(whole)
    with pytest.raises(ModelError, match=r"damaged zip file \(zip file version 12\.8\)"):
        Checkpoint.open(tmp_path)
