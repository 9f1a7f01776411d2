"""The model folder, in the on-disk layout of ChatGLM3-6B."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from glmd.compiler.nano.shape import Shape, config, tensor_shapes
from glmd.compiler.nano.tokenizer import NanoTokenizer

SHARD = "model-00001-of-00001.safetensors"

TOKENIZER_CONFIG = {
    "name_or_path": "glm3-nano",
    "remove_space": False,
    "do_lower_case": False,
    "tokenizer_class": "ChatGLMTokenizer",
    "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]},
}


def write_folder(
    folder: Path, tokenizer: NanoTokenizer, shape: Shape, weights: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Writes config, tokenizer, one F16 shard and its index.

    Raises ValueError where `weights` are not exactly the tensors of `shape`, or do not fit F16.
    """
    expected = tensor_shapes(shape)
    found = {name: weight.shape for name, weight in weights.items()}
    if found != expected:
        odd = sorted(name for name in found.keys() | expected.keys()
                     if found.get(name) != expected.get(name))  # fmt: skip
        raise ValueError(f"these tensors are missing, unknown or of another shape: {odd}")
    tensors = {name: np.ascontiguousarray(weights[name], dtype=np.float16) for name in expected}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that F16 cannot hold")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SHARD).write_bytes(save(tensors, metadata={"format": "pt"}))
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": dict.fromkeys(tensors, SHARD),
    }
    (folder / "tokenizer.model").write_bytes(tokenizer.model)
    for name, content in (
        ("config.json", config(shape)),
        ("tokenizer_config.json", TOKENIZER_CONFIG),
        ("model.safetensors.index.json", index),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
