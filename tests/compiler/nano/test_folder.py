"""The shipped folder: ChatGLM3-6B's layout, complete, and small enough for a repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.checkpoints import NANO
from support.requirements import real_tokenizer

from glmd.compiler.nano.folder import SHARD, write_folder
from glmd.compiler.nano.shape import Shape, config, tensor_shapes
from glmd.compiler.nano.tokenizer import NanoTokenizer


def test_the_whole_folder_is_under_ten_megabytes() -> None:
    assert sum(path.stat().st_size for path in NANO.iterdir()) < 10_000_000


def test_every_tensor_is_there_in_f16_and_finite() -> None:
    tensors = load_file(NANO / SHARD)
    assert {name: tensor.shape for name, tensor in tensors.items()} == tensor_shapes(Shape())
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float16, name
        assert np.isfinite(tensor).all(), name
        assert tensor.std() > 0, name


def test_it_has_two_to_six_million_parameters() -> None:
    count = sum(int(np.prod(shape)) for shape in tensor_shapes(Shape()).values())
    assert 2_000_000 < count < 6_000_000


def test_the_index_names_every_tensor_and_the_bytes() -> None:
    index = json.loads((NANO / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == dict.fromkeys(tensor_shapes(Shape()), SHARD)
    assert index["metadata"]["total_size"] == sum(
        tensor.nbytes for tensor in load_file(NANO / SHARD).values()
    )


def test_config_json_is_the_one_of_the_shape() -> None:
    assert json.loads((NANO / "config.json").read_text()) == config(Shape())


@pytest.mark.needs("real_tokenizer")
def test_the_configs_have_the_keys_of_chatglm3_6b() -> None:
    def keys(folder: Path, name: str) -> set[str]:
        return set(json.loads((folder / name).read_text(encoding="utf-8")))

    real = real_tokenizer()
    # The two that say who wrote the file for which transformers do not concern us.
    written_for = {"auto_map", "transformers_version"}
    assert keys(NANO, "config.json") == keys(real, "config.json") - written_for
    template = {"chat_template"}
    if (real / "tokenizer_config.json").is_file():
        theirs = keys(real, "tokenizer_config.json")
        assert keys(NANO, "tokenizer_config.json") == theirs - template


def test_wrong_tensors_are_refused_by_name(tmp_path: Path) -> None:
    shape = Shape(layers=1, hidden=32, heads=2, groups=1, ffn=32, vocabulary=64)
    weights = {
        name: np.zeros(size, dtype=np.float32) for name, size in tensor_shapes(shape).items()
    }
    tokenizer = NanoTokenizer.load(NANO)
    missing = dict(weights)
    missing.pop("transformer.output_layer.weight")
    with pytest.raises(ValueError, match=r"transformer\.output_layer\.weight"):
        write_folder(tmp_path, tokenizer, shape, missing)
    weights["transformer.output_layer.weight"][0, 0] = 1e6
    with (
        pytest.raises(ValueError, match=r"output_layer.* F16 cannot hold"),
        np.errstate(all="ignore"),
    ):
        write_folder(tmp_path, tokenizer, shape, weights)
    assert not list(tmp_path.iterdir())
