"""ChatGLM3's forward pass in NumPy, as the papers have it: slow, short, and in double precision.

The golden outputs of transformers hold this reference to account; it in turn says what logits
dequantised weights should give, where no torch is installed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from support.glm_models import EMBEDDING, FINAL_NORM, HEAD, Model, Tensors

Array = NDArray[np.float64]


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """https://arxiv.org/abs/1910.07467"""
    normed: Array = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight
    return normed


def rotate(x: Array, base: float) -> Array:
    """RoPE (https://arxiv.org/abs/2104.09864) of interleaved pairs in the first half of each head.

    `x`: [positions, heads, head_dim].
    """
    half = x.shape[-1] // 2
    frequencies = base ** -(np.arange(0, half, 2) / half)
    angles = np.arange(x.shape[0])[:, None, None] * frequencies
    even, odd = x[..., 0:half:2], x[..., 1:half:2]
    out = x.copy()
    out[..., 0:half:2] = even * np.cos(angles) - odd * np.sin(angles)
    out[..., 1:half:2] = odd * np.cos(angles) + even * np.sin(angles)
    return out


def attention(q: Array, k: Array, v: Array) -> Array:
    """Causal attention of q [n, heads, dim] over k and v [n, kv_heads, dim]; [n, heads * dim]."""
    n, heads, dim = q.shape
    shared = heads // k.shape[1]
    k, v = np.repeat(k, shared, axis=1), np.repeat(v, shared, axis=1)
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(dim)
    scores[:, np.triu(np.ones((n, n), dtype=bool), 1)] = -np.inf
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = scores / scores.sum(axis=-1, keepdims=True)
    out: Array = np.einsum("hqk,khd->qhd", weights, v).reshape(n, heads * dim)
    return out


def logits(model: Model, tensors: Tensors, ids: NDArray[np.int32]) -> Array:
    """float64 [len(ids), vocab]."""
    w = {name: values.astype(np.float64) for name, values in tensors.items()}
    x = w[EMBEDDING][ids]
    n = len(ids)
    for i in range(model.layers):
        layer = f"transformer.encoder.layers.{i}"
        h = rms_norm(x, w[f"{layer}.input_layernorm.weight"], model.norm_eps)
        qkv = h @ w[f"{layer}.self_attention.query_key_value.weight"].T
        qkv += w[f"{layer}.self_attention.query_key_value.bias"]
        q, k, v = (
            part.reshape(n, -1, model.head_dim)
            for part in np.split(qkv, np.cumsum(model.qkv)[:2], axis=-1)
        )
        attended = attention(rotate(q, model.rope_base), rotate(k, model.rope_base), v)
        x = x + attended @ w[f"{layer}.self_attention.dense.weight"].T
        h = rms_norm(x, w[f"{layer}.post_attention_layernorm.weight"], model.norm_eps)
        gate, up = np.split(h @ w[f"{layer}.mlp.dense_h_to_4h.weight"].T, 2, axis=-1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{layer}.mlp.dense_4h_to_h.weight"].T
    out: Array = rms_norm(x, w[FINAL_NORM], model.norm_eps) @ w[HEAD].T
    return out
