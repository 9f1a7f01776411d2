"""From a Load command to logits: checkpoints of every kind and the packed files made from them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.checkpoints import Dtype, Shape, random_tensors, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.daemon.engine.loaded import Loaded
from glmd.daemon.engine.loader import load_backend
from glmd.daemon.engine.memory import MOST_SLOTS
from glmd.daemon.engine.messages import Load
from glmd.daemon.engine.packing import packed_size, write_packed
from glmd.daemon.native._engine import CancelFlag, Span, Want
from glmd.errors import Code, ModelError, Unsupported
from glmd.packed import Mode, PackedModel, PackedTensor, PackedWriter

ODD = Shape(layers=3, hidden=56, heads=6, kv_heads=3, head_dim=12, ffn=51, vocab=101)
PROMPT = np.arange(3, 40, dtype=np.int32)
DENSE = "transformer.encoder.layers.1.self_attention.dense.weight"


def nothing(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def load(model: Path, mode: str = "", **fields: Any) -> Loaded:
    return load_backend(Load(str(model), "cpu", mode, **fields), nothing)


def logits(loaded: Loaded) -> np.ndarray:
    result = loaded.backend.forward([Span(0, 0, PROMPT, Want.logits)], CancelFlag())[0]
    assert result.logits is not None
    assert np.isfinite(result.logits).all()
    return result.logits


def packed(folder: Path, mode: Mode, path: Path) -> Path:
    (folder / "tokenizer.model").write_bytes(b"pieces")
    write_packed(Checkpoint.open(folder), mode, path, nothing)
    return path


@pytest.mark.parametrize("mode", ["f16", "int8", "int4"])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_a_packed_file_answers_as_its_checkpoint_does(
    tmp_path: Path, dtype: Dtype, mode: Mode
) -> None:
    folder = write_checkpoint(tmp_path / "model", ODD, dtype=dtype, tokenizer=None)
    from_folder = load(folder, mode)
    from_file = load(packed(folder, mode, tmp_path / "model.glmd"))
    assert from_file.mode == from_folder.mode == mode
    assert from_file.config == from_folder.config
    assert from_file.nbytes == from_folder.nbytes
    np.testing.assert_array_equal(logits(from_file), logits(from_folder))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
def test_bin_shards_answer_as_safetensors_do(tmp_path: Path, dtype: Dtype) -> None:
    one = write_checkpoint(tmp_path / "one", ODD, dtype=dtype, tokenizer=None)
    other = write_checkpoint(
        tmp_path / "other", ODD, dtype=dtype, layout="bin", shards=4, tokenizer=None
    )
    np.testing.assert_array_equal(logits(load(one)), logits(load(other)))


def test_every_weight_and_the_rope_ratio_matter(tmp_path: Path) -> None:
    """Nothing is loaded into the wrong place or left away."""
    tensors = dict(random_tensors(ODD))
    reference = logits(load(write_checkpoint(tmp_path / "model", ODD, tokenizer=None)))
    changed = write_checkpoint(tmp_path / "rope", Shape(**{**vars(ODD), "rope_ratio": 8}))
    assert (logits(load(changed)) != reference).any()
    for number, name in enumerate(tensors):
        if name.endswith("inv_freq"):
            continue
        other = {**tensors, name: tensors[name] + np.float32(0.05)}
        folder = write_checkpoint(tmp_path / str(number), ODD, tensors=other, tokenizer=None)
        assert (logits(load(folder)) != reference).any(), name


def test_progress_counts_to_the_whole(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", ODD, tokenizer=None)
    seen: list[tuple[int, int]] = []
    load_backend(Load(str(folder), "cpu", "int8"), lambda *at: seen.append(at))
    total = Checkpoint.open(folder).nbytes
    assert all(of == total for _, of in seen)
    assert all(a[0] < b[0] for a, b in itertools.pairwise(seen))
    assert seen[-1] == (total, total)
    assert len(seen) > 10

    seen.clear()
    path = packed(folder, "int8", tmp_path / "model.glmd")
    load_backend(Load(str(path), "cpu", ""), lambda *at: seen.append(at))
    assert seen == [(PackedModel.open(path).nbytes,) * 2]


def test_the_mode_is_f16_where_none_is_asked_for(tmp_path: Path) -> None:
    assert load(write_checkpoint(tmp_path)).mode == "f16"


def test_what_is_automatic_and_what_is_asked_for(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, Shape(seq_length=300))
    automatic = load(folder)
    assert (automatic.slots, automatic.context) == (MOST_SLOTS, 300)
    assert automatic.backend.capabilities.slots == MOST_SLOTS
    asked = load(folder, slots=3, context=100, threads=1)
    assert (asked.slots, asked.context) == (3, 100)
    assert asked.backend.info.max_seq == 100
    assert load(folder, context=4000).context == 300


def mapped_files() -> str:
    return Path("/proc/self/maps").read_text()


def test_a_packed_file_and_an_f16_embedding_stay_mapped(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", tokenizer=None)
    path = packed(folder, "int4", tmp_path / "model.glmd")
    loaded = load(path)
    assert str(path) in mapped_files()
    assert str(folder / "model.safetensors") not in mapped_files()
    del loaded
    assert str(path) not in mapped_files()
    loaded = load(folder)
    assert str(folder / "model.safetensors") in mapped_files()
    del loaded
    assert str(folder / "model.safetensors") not in mapped_files()


@pytest.mark.parametrize("mode", ["f16", "int8", "int4"])
def test_the_size_is_known_before(tmp_path: Path, mode: Mode) -> None:
    shape = Shape(hidden=256, heads=4, head_dim=64, ffn=512, vocab=512)
    folder = write_checkpoint(tmp_path, shape, dtype="F32", tokenizer=None)
    estimated = packed_size(Checkpoint.open(folder), mode)
    assert estimated == pytest.approx(load(folder, mode).nbytes, rel=0.02)


def test_more_slots_than_memory(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, Shape(seq_length=1 << 20))
    with pytest.raises(ModelError, match=r"10000000 conversations of 1048576 tokens") as refused:
        load(folder, slots=10_000_000)
    assert refused.value.code is Code.OUT_OF_MEMORY
    assert "GiB are free" in refused.value.message
    assert "--mode int4" in refused.value.hint
    assert "--context" in refused.value.hint
    with pytest.raises(ModelError) as refused:
        load(folder, "int4", slots=10_000_000)
    assert "--mode" not in refused.value.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e9])
@pytest.mark.parametrize("mode", ["f16", "int4"])
def test_a_value_that_the_mode_cannot_hold(tmp_path: Path, value: float, mode: str) -> None:
    tensors = dict(random_tensors(Shape()))
    tensors[DENSE][5, 7] = value
    folder = write_checkpoint(tmp_path, tensors=tensors, dtype="F32")
    with pytest.raises(ModelError) as refused:
        load(folder, mode)
    assert str(folder / "model.safetensors") in refused.value.message
    assert DENSE in refused.value.message
    assert mode in refused.value.message


def test_another_mode_than_that_of_a_packed_file(tmp_path: Path) -> None:
    path = packed(write_checkpoint(tmp_path / "model"), "int8", tmp_path / "model.glmd")
    assert load(path, "int8").mode == "int8"
    with pytest.raises(ModelError, match="was packed as int8 and cannot be loaded as int4"):
        load(path, "int4")


def test_a_mode_and_a_backend_that_do_not_exist(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="no mode 'int2'"):
        load(folder, "int2")
    with pytest.raises(Unsupported, match="no backend 'abacus'"):
        load_backend(Load(str(folder), "abacus", ""), nothing)


def test_a_packed_file_whose_layouts_are_not_those_of_the_kernels(tmp_path: Path) -> None:
    whole = PackedModel.open(
        packed(write_checkpoint(tmp_path / "model"), "int8", tmp_path / "model.glmd")
    )
    path = tmp_path / "cut.glmd"
    config = Shape().config()
    with PackedWriter(path, config=config, mode="int8", source="", tokenizer=b"p") as writer:
        for t in whole.tensors():
            data = t.data[:-32] if t.name == DENSE else t.data
            writer.add(PackedTensor(t.name, t.kind, t.rows, t.cols, data))
    with pytest.raises(ModelError, match=r"cut\.glmd does not fit the CPU backend: .*dense"):
        load(path)
