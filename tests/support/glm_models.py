"""Small ChatGLM3 models whose weights are a function of their names, and backends made of them.

The golden outputs were made from these very weights on another machine, so they must not depend on
NumPy's generators: each value is a hash of (seed, tensor name, index), in integer arithmetic.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmd.daemon.native import _engine as native

Tensors = dict[str, NDArray[Any]]

EMBEDDING = "transformer.embedding.word_embeddings.weight"
HEAD = "transformer.output_layer.weight"
FINAL_NORM = "transformer.encoder.final_layernorm.weight"
MODES = {"f16": "f16", "int8": "int8", "int4g32": "int4", "int4g64": "int4"}


@dataclass(frozen=True)
class Model:
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def qkv(self) -> tuple[int, int, int]:
        """Rows of queries, keys and values in the fused projection."""
        return (
            self.heads * self.head_dim,
            self.kv_heads * self.head_dim,
            self.kv_heads * self.head_dim,
        )

    def shape(self) -> native.CpuShape:
        return native.CpuShape(
            layers=self.layers,
            hidden=self.hidden,
            ffn=self.ffn,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocab=self.vocab,
            norm_eps=self.norm_eps,
            rope_base=self.rope_base,
        )


# Sizes that fit the kernels' vectors, blocks and groups, and sizes that fit none of them.
MODELS = {
    "even": Model(2, 64, 96, 4, 2, 16, 160),
    "odd": Model(2, 60, 97, 3, 1, 20, 131),
    "long-rope": Model(3, 100, 171, 6, 2, 8, 151, rope_base=500000.0),
    "wide-heads": Model(2, 256, 344, 4, 2, 128, 99),
    "many-heads": Model(1, 52, 75, 10, 2, 12, 77, norm_eps=1e-6),
    "deep": Model(8, 96, 256, 6, 2, 32, 113),
}


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Numbers in [-1, 1): splitmix64 (https://prng.di.unimi.it/splitmix64.c) of each index."""
    start = np.uint64((seed << 32) + zlib.crc32(name.encode()))
    z = np.arange(int(np.prod(shape)), dtype=np.uint64) + start
    z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    values = (z >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    return values.reshape(shape)


def tensors(model: Model, seed: int = 1) -> Tensors:
    """float16 tensors by checkpoint name; activations keep about their size through the layers."""

    def matrix(name: str, rows: int, cols: int, gain: float = 1.7) -> None:
        scale = np.float32(gain / cols**0.5)
        made[name] = (uniform(seed, name, (rows, cols)) * scale).astype(np.float16)

    def vector(name: str, n: int, centre: float) -> None:
        values = uniform(seed, name, (n,)) * np.float32(0.2) + np.float32(centre)
        made[name] = values.astype(np.float16)

    made: Tensors = {}
    matrix(EMBEDDING, model.vocab, model.hidden, model.hidden**0.5)
    for i in range(model.layers):
        layer = f"transformer.encoder.layers.{i}"
        vector(f"{layer}.input_layernorm.weight", model.hidden, 1.0)
        matrix(f"{layer}.self_attention.query_key_value.weight", sum(model.qkv), model.hidden)
        vector(f"{layer}.self_attention.query_key_value.bias", sum(model.qkv), 0.0)
        matrix(f"{layer}.self_attention.dense.weight", model.hidden, model.qkv[0])
        vector(f"{layer}.post_attention_layernorm.weight", model.hidden, 1.0)
        matrix(f"{layer}.mlp.dense_h_to_4h.weight", 2 * model.ffn, model.hidden)
        matrix(f"{layer}.mlp.dense_4h_to_h.weight", model.hidden, model.ffn)
    vector(FINAL_NORM, model.hidden, 1.0)
    matrix(HEAD, model.vocab, model.hidden, 5.0)
    return made


def tokens(n: int, vocab: int, seed: int = 0) -> NDArray[np.int32]:
    ids = (uniform(seed, "tokens", (n,)) + 1) * np.float32(vocab / 2)
    return np.minimum(ids.astype(np.int32), vocab - 1)


def pack(made: Tensors, kind: str) -> tuple[dict[str, tuple[NDArray[np.uint8], str]], Tensors]:
    """The matrices packed, with their kinds; and all tensors as the packed bytes have them."""
    packed: dict[str, tuple[NDArray[np.uint8], str]] = {}
    meant: Tensors = dict(made)
    for name, values in made.items():
        if values.ndim == 2:
            its_kind = "rows_f16" if name == EMBEDDING else kind
            packed[name] = (native.pack(values, its_kind), its_kind)
            meant[name] = native.unpack(packed[name][0], its_kind, *values.shape)
    return packed, meant


def weights(
    model: Model, made: Tensors, packed: Mapping[str, tuple[NDArray[np.uint8], str]], kind: str
) -> native.CpuWeights:
    loaded = native.CpuWeights(model.shape(), MODES[kind])
    for name, values in made.items():
        if name in packed:
            loaded.set_matrix(name, *packed[name])
        else:
            loaded.set_vector(name, values.astype(np.float32))
    return loaded


def backend(
    model: Model,
    kind: str = "f16",
    *,
    slots: int = 2,
    max_seq: int = 256,
    threads: int = 2,
    made: Tensors | None = None,
) -> native.CpuBackend:
    made = made or tensors(model)
    packed, _ = pack(made, kind)
    return native.CpuBackend(
        weights(model, made, packed, kind), slots=slots, max_seq=max_seq, threads=threads
    )


def logits(
    engine: native.Backend, ids: NDArray[np.int32], *, slot: int = 0, pos: int = 0
) -> NDArray[np.float32]:
    """float32 [len(ids), vocab]: the logits behind each of `ids`, appended at `pos`."""
    spans = [
        native.Span(slot, pos + i, ids[i : i + 1], native.Want.logits) for i in range(len(ids))
    ]
    rows = [result.logits for result in engine.forward(spans, native.CancelFlag())]
    return np.stack([row for row in rows if row is not None])
