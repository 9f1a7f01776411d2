"""Random ChatGLM3 checkpoints on disk, in the layout in which ChatGLM3-6B is published.

The names and shapes are written down here a second time, independently of glmd.checkpoint, so that
a mistake there cannot hide. `.bin` shards are pickled by hand (see torch_file.py): no torch needed.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from support import torch_file

ROOT = Path(__file__).parents[2]
NANO = ROOT / "glmd" / "models" / "glm3-nano"

Dtype = Literal["F16", "BF16", "F32"]


@dataclass(frozen=True)
class Shape:
    """The defaults are the smallest ordinary ChatGLM3: two layers, two KV groups."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    ffn: int = 96
    vocab: int = 320
    seq_length: int = 256
    norm_eps: float = 1e-5
    rope_ratio: float = 1.0

    @property
    def qkv_rows(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    def config(self) -> dict[str, Any]:
        """What config.json says, with the fields of ChatGLM3-6B's own."""
        return {
            "model_type": "chatglm",
            "architectures": ["ChatGLMModel"],
            "add_bias_linear": False,
            "add_qkv_bias": True,
            "apply_query_key_layer_scaling": True,
            "apply_residual_connection_post_layernorm": False,
            "attention_softmax_in_fp32": True,
            "ffn_hidden_size": self.ffn,
            "fp32_residual_connection": False,
            "hidden_size": self.hidden,
            "kv_channels": self.head_dim,
            "layernorm_epsilon": self.norm_eps,
            "multi_query_attention": True,
            "multi_query_group_num": self.kv_heads,
            "num_attention_heads": self.heads,
            "num_layers": self.layers,
            "original_rope": True,
            "padded_vocab_size": self.vocab,
            "post_layer_norm": True,
            "rmsnorm": True,
            "rope_ratio": self.rope_ratio,
            "seq_length": self.seq_length,
            "tie_word_embeddings": False,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }

    def tensors(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {
            "transformer.embedding.word_embeddings.weight": (self.vocab, self.hidden),
            "transformer.rotary_pos_emb.inv_freq": (self.head_dim // 4,),
        }
        for i in range(self.layers):
            layer = f"transformer.encoder.layers.{i}"
            shapes |= {
                f"{layer}.input_layernorm.weight": (self.hidden,),
                f"{layer}.self_attention.query_key_value.weight": (self.qkv_rows, self.hidden),
                f"{layer}.self_attention.query_key_value.bias": (self.qkv_rows,),
                f"{layer}.self_attention.dense.weight": (self.hidden, self.heads * self.head_dim),
                f"{layer}.post_attention_layernorm.weight": (self.hidden,),
                f"{layer}.mlp.dense_h_to_4h.weight": (2 * self.ffn, self.hidden),
                f"{layer}.mlp.dense_4h_to_h.weight": (self.hidden, self.ffn),
            }
        return shapes | {
            "transformer.encoder.final_layernorm.weight": (self.hidden,),
            "transformer.output_layer.weight": (self.vocab, self.hidden),
        }


# ChatGLM3-6B itself; `layers` can be lowered for a model that fits a test machine.
SIX_B = Shape(
    layers=28,
    hidden=4096,
    heads=32,
    kv_heads=2,
    head_dim=128,
    ffn=13696,
    vocab=65024,
    seq_length=8192,
)


def random_tensors(shape: Shape, seed: int = 0) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(name, float32 values) of a model whose activations neither vanish nor explode.

    Every tensor has its own generator keyed by (seed, its number), so that a value does not depend
    on what was drawn before it.
    """
    for number, (name, dims) in enumerate(shape.tensors().items()):
        rng = np.random.default_rng([seed, number])
        values = rng.standard_normal(dims, dtype=np.float32)
        if name.endswith("inv_freq"):
            half = shape.head_dim // 2
            values = (10000.0 ** -(np.arange(0, half, 2) / half)).astype(np.float32)
        elif name.endswith("layernorm.weight"):
            values = 1 + 0.1 * values
        elif name.endswith("bias"):
            values *= 0.1
        elif not name.endswith("word_embeddings.weight"):
            values *= dims[1] ** -0.5
        yield name, values


def to_dtype(values: NDArray[np.float32], dtype: Dtype) -> NDArray[Any]:
    """F16 as float16, F32 as float32, BF16 as uint16 bits (rounded to nearest even)."""
    if dtype == "F16":
        return values.astype(np.float16)
    if dtype == "F32":
        return values
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """uint16 arrays are written as BF16."""
    names = {"float16": "F16", "float32": "F32", "uint16": "BF16"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, values in tensors.items():
        header[name] = {
            "dtype": names[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [offset, offset + values.nbytes],
        }
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).data)


def write_checkpoint(
    folder: Path,
    shape: Shape | None = None,
    *,
    seed: int = 0,
    dtype: Dtype = "F16",
    layout: Literal["safetensors", "bin"] = "safetensors",
    shards: int = 1,
    tokenizer: Path | None = NANO,
    tensors: Mapping[str, NDArray[np.float32]] | None = None,
) -> Path:
    """Write a checkpoint folder and return it.

    `shards` > 1 gives the index JSON and shards named as Hugging Face names them. `tokenizer`: a
    folder to copy tokenizer.model and tokenizer_config.json from, if it is there. `tensors`:
    instead of random ones.
    """
    shape = shape or Shape()
    values = dict(tensors if tensors is not None else random_tensors(shape, seed))
    arrays = {name: to_dtype(array, dtype) for name, array in values.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=2))

    stem, suffix = ("model", "safetensors") if layout == "safetensors" else ("pytorch_model", "bin")
    write = write_safetensors if layout == "safetensors" else torch_file.save
    if shards == 1:
        write(folder / f"{stem}.{suffix}", arrays)
    else:
        names = list(arrays)
        weight_map: dict[str, str] = {}
        for i in range(shards):
            file = f"{stem}-{i + 1:05}-of-{shards:05}.{suffix}"
            part = names[i * len(names) // shards : (i + 1) * len(names) // shards]
            write(folder / file, {name: arrays[name] for name in part})
            weight_map |= dict.fromkeys(part, file)
        index = {
            "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
            "weight_map": weight_map,
        }
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=2))

    _copy_tokenizer(tokenizer, folder)
    return folder


def write_large_checkpoint(
    folder: Path, shape: Shape, *, seed: int = 0, tokenizer: Path | None = NANO
) -> Path:
    """An F16 checkpoint of real size, one shard a layer, as fast as the disk takes it.

    Matrices are windows of one random block, whose length is prime so that rows differ.
    """
    rng = np.random.default_rng(seed)
    block = (0.02 * rng.standard_normal(8_388_593, dtype=np.float32)).astype(np.float16)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=2))
    shards: dict[str, list[str]] = {}
    for name in shape.tensors():
        layer = name.split(".")[3] if ".layers." in name else name
        shards.setdefault(layer, []).append(name)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards.values()):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        weight_map |= dict.fromkeys(names, file)
        write_safetensors(
            folder / file,
            {name: _filled(block, name, shape.tensors()[name]) for name in names},
        )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    _copy_tokenizer(tokenizer, folder)
    return folder


def _filled(block: NDArray[np.float16], name: str, dims: tuple[int, ...]) -> NDArray[np.float16]:
    start = zlib.crc32(name.encode()) % block.size
    values = np.resize(np.roll(block, -start), dims)
    # A compiler drops a multiplication by ones, and then sees no norm any more.
    return 1 + values if name.endswith("layernorm.weight") else values


def _copy_tokenizer(tokenizer: Path | None, folder: Path) -> None:
    if tokenizer is not None:
        for name in ("tokenizer.model", "tokenizer_config.json"):
            if (tokenizer / name).is_file():
                shutil.copyfile(tokenizer / name, folder / name)
