"""The nets of the seed recipe and their ports.

Two for the embedding (a prompt, a token), two for each layer, and three behind the last: a model of
28 layers has 61. S is the seq_length, H the hidden size, V the vocabulary; KV heads of D values.
The cache is right-aligned: block_cache drops its oldest row and puts the new one last.
"""

from __future__ import annotations

from glmd.checkpoint.config import ModelConfig
from glmd.compiler.nets import Net, Port

# The candidates that penalty_sample_head gives the host to draw from.
CANDIDATES = 50


def seed_nets(config: ModelConfig, seq_length: int) -> list[Net]:
    """In the order in which a token meets them."""
    nets = [_embedding("embedding", config, seq_length), _embedding("embedding_cache", config, 1)]
    for layer in range(config.num_layers):
        nets.append(_block(layer, config, seq_length))
        nets.append(_block_cache(layer, config, seq_length))
    return [*nets, *_heads(config, seq_length)]


def _embedding(name: str, config: ModelConfig, length: int) -> Net:
    return Net(
        name,
        "embedding",
        (Port("input_ids", "i32", (1, length)),),
        (Port("input_embed", "f16", (length, 1, config.hidden_size)),),
    )


def _block(layer: int, config: ModelConfig, seq_length: int) -> Net:
    hidden = seq_length, 1, config.hidden_size
    cache = seq_length, 1, config.multi_query_group_num, config.kv_channels
    return Net(
        f"block_{layer}",
        "block",
        (
            Port("input_states", "f16", hidden),
            Port("position_ids", "i32", (1, seq_length)),
            Port("attention_mask", "f16", (1, 1, seq_length, seq_length)),
        ),
        (
            Port("hidden_states", "f16", hidden),
            Port("past_k", "f16", cache),
            Port("past_v", "f16", cache),
        ),
        layer,
    )


def _block_cache(layer: int, config: ModelConfig, seq_length: int) -> Net:
    hidden = 1, 1, config.hidden_size
    cache = seq_length, 1, config.multi_query_group_num, config.kv_channels
    return Net(
        f"block_cache_{layer}",
        "block_cache",
        (
            Port("input_states", "f16", hidden),
            Port("position_ids", "i32", (1, 1)),
            Port("attention_mask", "f16", (1, 1, 1, seq_length + 1)),
            Port("history_k", "f16", cache),
            Port("history_v", "f16", cache),
        ),
        (
            Port("hidden_states", "f16", hidden),
            Port("past_k", "f16", cache),
            Port("past_v", "f16", cache),
        ),
        layer,
    )


def _heads(config: ModelConfig, seq_length: int) -> list[Net]:
    logits = Port("m_logits", "f32", (1, config.padded_vocab_size))
    candidates = 1, min(CANDIDATES, config.padded_vocab_size)
    return [
        Net(
            "lm_head",
            "lm_head",
            (Port("hidden_states", "f16", (1, config.hidden_size)),),
            (logits,),
        ),
        Net("greedy_head", "greedy_head", (logits,), (Port("token", "i32", (1, 1)),)),
        Net(
            "penalty_sample_head",
            "penalty_sample_head",
            (
                logits,
                Port("input_ids", "i32", (1, seq_length)),
                Port("top_p", "f32", (1,)),
                Port("temperature", "f32", (1,)),
                Port("penalty", "f32", (1,)),
            ),
            (Port("probs", "f32", candidates), Port("token", "i32", candidates)),
        ),
    ]
