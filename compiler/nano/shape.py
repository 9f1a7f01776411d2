"""The size of glm3-nano, and its ``config.json`` with the keys of ChatGLM3-6B's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Dimensions of a ChatGLM3. The defaults are glm3-nano's: about 4.5 million parameters."""

    layers: int = 6
    hidden: int = 256
    heads: int = 4
    groups: int = 2
    ffn: int = 512
    pieces: int = 2280
    vocabulary: int = 2304
    context: int = 1024

    @property
    def head(self) -> int:
        """Values of one head."""
        return self.hidden // self.heads

    @property
    def qkv(self) -> int:
        """Rows of the fused projection: queries, then keys, then values."""
        return (self.heads + 2 * self.groups) * self.head


def config(shape: Shape) -> dict[str, Any]:
    """``config.json`` of a checkpoint folder of this shape."""
    return {
        "_name_or_path": "glm3-nano",
        "model_type": "chatglm",
        "architectures": ["ChatGLMModel"],
        "add_bias_linear": False,
        "add_qkv_bias": True,
        "apply_query_key_layer_scaling": True,
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True,
        "bias_dropout_fusion": True,
        "ffn_hidden_size": shape.ffn,
        "fp32_residual_connection": False,
        "hidden_dropout": 0.0,
        "hidden_size": shape.hidden,
        "kv_channels": shape.head,
        "layernorm_epsilon": 1e-05,
        "multi_query_attention": True,
        "multi_query_group_num": shape.groups,
        "num_attention_heads": shape.heads,
        "num_layers": shape.layers,
        "original_rope": True,
        "padded_vocab_size": shape.vocabulary,
        "post_layer_norm": True,
        "rmsnorm": True,
        "seq_length": shape.context,
        "use_cache": True,
        "torch_dtype": "float16",
        "tie_word_embeddings": False,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def tensor_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint, by ChatGLM3's names."""
    width = shape.hidden
    tensors: dict[str, tuple[int, ...]] = {
        "transformer.embedding.word_embeddings.weight": (shape.vocabulary, width)
    }
    for layer in range(shape.layers):
        prefix = f"transformer.encoder.layers.{layer}"
        tensors |= {
            f"{prefix}.input_layernorm.weight": (width,),
            f"{prefix}.self_attention.query_key_value.weight": (shape.qkv, width),
            f"{prefix}.self_attention.query_key_value.bias": (shape.qkv,),
            f"{prefix}.self_attention.dense.weight": (width, shape.heads * shape.head),
            f"{prefix}.post_attention_layernorm.weight": (width,),
            f"{prefix}.mlp.dense_h_to_4h.weight": (2 * shape.ffn, width),
            f"{prefix}.mlp.dense_4h_to_h.weight": (width, shape.ffn),
        }
    return tensors | {
        "transformer.encoder.final_layernorm.weight": (width,),
        "transformer.output_layer.weight": (shape.vocabulary, width),
    }
