"""Checkpoint folders: every layout gives the same tensors, and faults are said in a sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.checkpoints import (
    SIX_B,
    Dtype,
    Shape,
    random_tensors,
    to_dtype,
    write_checkpoint,
    write_safetensors,
)
from support.torch_file import save

from glmd.checkpoint.config import parse_config
from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.names import tensor_shapes
from glmd.checkpoint.source import open_model
from glmd.checkpoint.stored import to_float32
from glmd.errors import ModelError

EMBEDDING = "transformer.embedding.word_embeddings.weight"
DENSE = "transformer.encoder.layers.1.self_attention.dense.weight"


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("layout", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_layout_gives_the_same_tensors(
    tmp_path: Path, dtype: Dtype, layout: Any, shards: int
) -> None:
    shape = Shape(hidden=40, heads=3, kv_heads=1, head_dim=12, ffn=33, vocab=77)
    folder = write_checkpoint(
        tmp_path, shape, seed=7, dtype=dtype, layout=layout, shards=shards, tokenizer=None
    )
    checkpoint = Checkpoint.open(folder)
    expected = dict(random_tensors(shape, 7))
    del expected["transformer.rotary_pos_emb.inv_freq"]
    assert set(checkpoint.tensors) == set(expected)
    for name, values in expected.items():
        stored = to_dtype(values, dtype)
        read = checkpoint.read(name)
        assert read.dtype == stored.dtype
        assert read.flags.c_contiguous
        assert read.flags.aligned
        assert not read.flags.writeable
        np.testing.assert_array_equal(read, stored)
    assert checkpoint.nbytes == sum(to_dtype(v, dtype).nbytes for v in expected.values())


def test_the_names_and_shapes_are_those_of_chatglm3_6b() -> None:
    shapes = tensor_shapes(parse_config(SIX_B.config(), Path("config.json")))
    expected = SIX_B.tensors()
    del expected["transformer.rotary_pos_emb.inv_freq"]
    assert shapes == expected


def test_f16_in_safetensors_is_mapped_and_not_copied(tmp_path: Path) -> None:
    values = Checkpoint.open(write_checkpoint(tmp_path)).read(DENSE)
    base: Any = values
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap"


def test_bfloat16_is_widened_exactly() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    wide = to_float32(bits)
    assert (wide.view(np.uint32) >> 16 == bits).all()
    assert (wide.view(np.uint32) & 0xFFFF == 0).all()


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(folder: Path) -> ModelError:
    with pytest.raises(ModelError) as error:
        Checkpoint.open(folder)
    assert error.value.message.endswith(".")
    assert error.value.hint.endswith(".")
    assert str(folder) in error.value.message
    return error.value


def test_not_there(tmp_path: Path) -> None:
    assert "not there" in refused(tmp_path / "nothing").message


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "a file" in refused(tmp_path / "file").message


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "config.json" in refused(tmp_path).message


def test_no_weights(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path) / "model.safetensors").unlink()
    message = refused(tmp_path).message
    assert "model.safetensors" in message
    assert "pytorch_model.bin" in message


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_a_missing_shard(tmp_path: Path, layout: Any) -> None:
    folder = write_checkpoint(tmp_path, layout=layout, shards=3)
    shard = next(folder.glob("*-00002-of-00003.*"))
    shard.unlink()
    error = refused(folder)
    assert str(shard) in error.message
    assert "missing" in error.message
    assert "index.json" in error.message


def test_a_tensor_that_the_index_places_wrongly(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, shards=2)
    edit_json(
        folder / "model.safetensors.index.json",
        lambda index: index["weight_map"].update({EMBEDDING: "model-00002-of-00002.safetensors"}),
    )
    error = refused(folder)
    assert "model-00002-of-00002.safetensors" in error.message
    assert EMBEDDING in error.message


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "nonsense",
        '{"weight_map": 3}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../../etc/passwd"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": ".."}}',
        '{"weight_map": {"a": ""}}',
    ],
)
def test_a_broken_index(tmp_path: Path, content: str) -> None:
    folder = write_checkpoint(tmp_path, shards=2)
    (folder / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refused(folder).message


def with_tensors(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A checkpoint whose tensors were changed."""
    tensors: dict[str, Any] = dict(random_tensors(Shape()))
    change(tensors)
    return write_checkpoint(folder, tensors=tensors)


def test_a_missing_tensor(tmp_path: Path) -> None:
    folder = with_tensors(tmp_path, lambda tensors: tensors.pop(DENSE))
    assert f"has no tensor {DENSE}" in refused(folder).message


def test_a_tensor_of_another_shape(tmp_path: Path) -> None:
    folder = with_tensors(tmp_path, lambda t: t.update({DENSE: t[DENSE][:, 1:]}))
    message = refused(folder).message
    assert str(folder / "model.safetensors") in message
    assert DENSE in message
    assert "[64, 63]" in message
    assert "[64, 64]" in message


def test_a_tensor_that_chatglm3_does_not_have(tmp_path: Path) -> None:
    name = "transformer.prefix_encoder.embedding.weight"
    folder = with_tensors(tmp_path, lambda t: t.update({name: np.zeros((2, 2), np.float32)}))
    assert name in refused(folder).message


def test_more_layers_than_the_config_says(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    edit_json(folder / "config.json", lambda config: config.update(num_layers=1))
    assert "layers.1" in refused(folder).message


def test_a_dtype_that_is_not_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, dtype="F16")
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"F16"', b'"I16"'))
    message = refused(folder).message
    assert "I16" in message
    assert str(path) in message


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_git_lfs_pointer(tmp_path: Path, file: str) -> None:
    folder = write_checkpoint(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / file).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1827781090\n"
    )
    error = refused(folder)
    assert file in error.message
    assert "git lfs pull" in error.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    (folder / "model.safetensors").chmod(0)
    assert "Permission denied" in refused(folder).message


@pytest.mark.parametrize("layout", ["safetensors", "bin"])
def test_a_folder_where_the_weights_should_be(tmp_path: Path, layout: Any) -> None:
    folder = write_checkpoint(tmp_path, layout=layout)
    weights = next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    weights.unlink()
    weights.mkdir()
    assert weights.name in refused(folder).message


def test_a_file_that_is_cut_after_it_was_opened(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path))
    os.truncate(tmp_path / "model.safetensors", 8192)
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read any more"):
        checkpoint.read("transformer.output_layer.weight")


def test_safetensors_are_preferred_to_bin(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, seed=1)
    write_checkpoint(folder, seed=2, layout="bin")
    expected = dict(random_tensors(Shape(), 1))[DENSE].astype(np.float16)
    np.testing.assert_array_equal(Checkpoint.open(folder).read(DENSE), expected)


def test_the_tokenizer_lies_in_the_folder(tmp_path: Path) -> None:
    checkpoint = Checkpoint.open(write_checkpoint(tmp_path, tokenizer=None))
    with pytest.raises(ModelError) as error:
        checkpoint.tokenizer()
    assert "tokenizer.model" in error.value.message
    assert "--tokenizer" in error.value.hint
    (tmp_path / "tokenizer.model").write_bytes(b"pieces")
    assert checkpoint.tokenizer() == b"pieces"


def test_a_folder_opens_as_a_model_and_other_files_do_not(tmp_path: Path) -> None:
    assert isinstance(open_model(write_checkpoint(tmp_path / "model")), Checkpoint)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ModelError, match="no model that glmd knows"):
        open_model(tmp_path / "text")
    with pytest.raises(ModelError, match="not there"):
        open_model(tmp_path / "nothing")


def test_symbolic_links_as_a_download_cache_makes_them(tmp_path: Path) -> None:
    blobs = write_checkpoint(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for file in blobs.iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert Checkpoint.open(tmp_path / "snapshot").read(DENSE).shape == (64, 64)
    shutil.rmtree(blobs)
    with pytest.raises(ModelError):
        Checkpoint.open(tmp_path / "snapshot")


@pytest.mark.needs("torch")
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_what_torch_itself_saves(tmp_path: Path, dtype: Dtype) -> None:
    torch = pytest.importorskip("torch")
    kinds = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
    folder = write_checkpoint(tmp_path, dtype=dtype, tokenizer=None)
    (folder / "model.safetensors").unlink()
    tensors = {
        name: torch.from_numpy(values).to(kinds[dtype]) for name, values in random_tensors(Shape())
    }
    tensors[DENSE] = tensors[DENSE].T.contiguous().T
    torch.save(tensors, folder / "pytorch_model.bin")
    checkpoint = Checkpoint.open(folder)
    for name in checkpoint.tensors:
        bits = tensors[name].view(torch.int32 if dtype == "F32" else torch.int16).numpy()
        np.testing.assert_array_equal(checkpoint.read(name).view(bits.dtype), bits)


@pytest.mark.needs("torch")
def test_torch_reads_what_the_tests_write(tmp_path: Path) -> None:
    """The hand-made pickles of tests/support are real ones."""
    torch = pytest.importorskip("torch")
    arrays = {name: to_dtype(values, "F16") for name, values in random_tensors(Shape())}
    save(tmp_path / "file.bin", arrays)
    loaded = torch.load(tmp_path / "file.bin")
    for name, values in arrays.items():
        np.testing.assert_array_equal(loaded[name].numpy(), values)


def test_the_safetensors_package_reads_what_the_tests_write(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    arrays = {name: to_dtype(values, "F16") for name, values in random_tensors(Shape())}
    write_safetensors(tmp_path / "file.safetensors", arrays)
    loaded = load_file(tmp_path / "file.safetensors")
    for name, values in arrays.items():
        np.testing.assert_array_equal(loaded[name], values)
