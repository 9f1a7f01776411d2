"""The oracle: transformers' GlmForCausalLM with ChatGLM3's tensors renamed and split."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.glm_models import EMBEDDING, FINAL_NORM, HEAD, Model, Tensors


def build(model: Model, tensors: Tensors) -> Any:
    """The model in float32, on the CPU, with plain attention."""
    import torch
    from transformers import GlmConfig, GlmForCausalLM

    config = GlmConfig(
        vocab_size=model.vocab,
        hidden_size=model.hidden,
        intermediate_size=model.ffn,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        head_dim=model.head_dim,
        hidden_act="silu",
        rms_norm_eps=model.norm_eps,
        attention_bias=True,
        tie_word_embeddings=False,
        max_position_embeddings=4096,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": model.rope_base,
            "partial_rotary_factor": 0.5,
        },
        pad_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    oracle = GlmForCausalLM(config).eval()

    def tensor(name: str) -> Any:
        return torch.from_numpy(tensors[name].astype(np.float32))

    state = {
        "model.embed_tokens.weight": tensor(EMBEDDING),
        "model.norm.weight": tensor(FINAL_NORM),
        "lm_head.weight": tensor(HEAD),
    }
    for i in range(model.layers):
        ours, theirs = f"transformer.encoder.layers.{i}", f"model.layers.{i}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            state[f"{theirs}.{norm}.weight"] = tensor(f"{ours}.{norm}.weight")
        for what in ("weight", "bias"):
            fused = tensor(f"{ours}.self_attention.query_key_value.{what}")
            for name, part in zip("qkv", fused.split(model.qkv), strict=True):
                state[f"{theirs}.self_attn.{name}_proj.{what}"] = part
        state[f"{theirs}.self_attn.o_proj.weight"] = tensor(f"{ours}.self_attention.dense.weight")
        state[f"{theirs}.mlp.gate_up_proj.weight"] = tensor(f"{ours}.mlp.dense_h_to_4h.weight")
        state[f"{theirs}.mlp.down_proj.weight"] = tensor(f"{ours}.mlp.dense_4h_to_h.weight")
    oracle.load_state_dict(state, strict=True)
    return oracle


def logits(oracle: Any, ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """float32 [len(ids), vocab]."""
    import torch

    with torch.no_grad():
        batch = torch.from_numpy(ids.astype(np.int64))[None]
        rows: NDArray[np.float32] = oracle(input_ids=batch, use_cache=False).logits[0].numpy()
    return rows
