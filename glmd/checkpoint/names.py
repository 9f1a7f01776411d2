"""The tensors of a ChatGLM3, by the names its checkpoints use."""

from __future__ import annotations

from glmd.checkpoint.config import ModelConfig

EMBEDDING = "transformer.embedding.word_embeddings.weight"
FINAL_NORM = "transformer.encoder.final_layernorm.weight"
OUTPUT = "transformer.output_layer.weight"

# Stored by some checkpoints, and computed from the config by everyone who reads them.
IGNORED = frozenset({"transformer.rotary_pos_emb.inv_freq"})


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor the model needs, in the order in which a token meets them.

    Matrices are [output, input], as torch stores the weight of a linear layer.
    """
    hidden, ffn = config.hidden_size, config.ffn_hidden_size
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.padded_vocab_size, hidden)}
    for number in range(config.num_layers):
        layer = f"transformer.encoder.layers.{number}"
        shapes[f"{layer}.input_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.self_attention.query_key_value.weight"] = (config.qkv_size, hidden)
        shapes[f"{layer}.self_attention.query_key_value.bias"] = (config.qkv_size,)
        shapes[f"{layer}.self_attention.dense.weight"] = (hidden, config.projection_size)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
        shapes[f"{layer}.mlp.dense_h_to_4h.weight"] = (2 * ffn, hidden)
        shapes[f"{layer}.mlp.dense_4h_to_h.weight"] = (hidden, ffn)
    shapes[FINAL_NORM] = (hidden,)
    shapes[OUTPUT] = (config.padded_vocab_size, hidden)
    return shapes
