"""config.json of a ChatGLM3 checkpoint, checked for being one.

The fields are those of ChatGLM3-6B's own configuration_chatglm.py; the names are kept, so that
what is read here can be looked up there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from glmd.errors import ModelError

ROPE_BASE = 10000.0

# No ChatGLM3 comes near; it keeps a corrupt number from being taken for a size.
_LARGEST = 1 << 20

_ARCHITECTURES = ("ChatGLMModel", "ChatGLMForConditionalGeneration")

# What makes a `chatglm` a ChatGLM3 in the mathematics: field -> (value it must have, value that
# ChatGLMConfig gives a file that does not say).
_FIXED: dict[str, tuple[object, object]] = {
    "add_bias_linear": (False, False),
    "add_qkv_bias": (True, False),
    "apply_residual_connection_post_layernorm": (False, False),
    "multi_query_attention": (True, False),
    "original_rope": (True, True),
    "post_layer_norm": (True, True),
    "pre_seq_len": (None, None),
    "quantization_bit": (0, 0),
    "rmsnorm": (True, True),
}


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that decide shapes and mathematics. `seq_length` is in tokens; attention has
    `num_attention_heads` query heads and `multi_query_group_num` KV heads of `kv_channels`."""

    num_layers: int
    hidden_size: int
    ffn_hidden_size: int
    num_attention_heads: int
    multi_query_group_num: int
    kv_channels: int
    padded_vocab_size: int
    seq_length: int
    layernorm_epsilon: float
    rope_ratio: float = 1.0

    @property
    def rope_base(self) -> float:
        """ChatGLM3 stretches its context by multiplying the base: 32k has rope_ratio 50."""
        return ROPE_BASE * self.rope_ratio

    @property
    def projection_size(self) -> int:
        """Length of all query heads of a token side by side."""
        return self.num_attention_heads * self.kv_channels

    @property
    def qkv_size(self) -> int:
        """Rows of the fused query_key_value matrix: all query, then key, then value heads."""
        return self.projection_size + 2 * self.multi_query_group_num * self.kv_channels

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one position in F16, over all layers."""
        return 2 * self.num_layers * self.multi_query_group_num * self.kv_channels * 2


def read_fields(path: Path) -> dict[str, Any]:
    """The JSON object of a config.json, unchecked."""
    try:
        fields = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}.",
            hint="A checkpoint folder holds config.json, the weights and tokenizer.model.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON.", hint="Download it again.") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path} holds no JSON object.", hint="Download it again.")
    return fields


def parse_config(fields: Mapping[str, Any], path: Path) -> ModelConfig:
    """The config that the fields of a config.json describe. Raises ModelError with a sentence that
    names `path`, the field, what was found and what was expected."""
    if fields.get("model_type") != "chatglm":
        raise _refusal(path, "model_type", fields.get("model_type"), '"chatglm"')
    architectures = fields.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and any(a in _ARCHITECTURES for a in architectures)
    ):
        raise _refusal(path, "architectures", architectures, f'["{_ARCHITECTURES[0]}"]')
    for field, (expected, default) in _FIXED.items():
        found = default if fields.get(field) is None else fields[field]
        if found != expected:
            raise _refusal(path, field, fields.get(field), json.dumps(expected))

    config = ModelConfig(
        **{name: _size(path, fields, name) for name in _SIZES},
        layernorm_epsilon=_positive(path, "layernorm_epsilon", fields.get("layernorm_epsilon")),
        rope_ratio=_positive(path, "rope_ratio", fields.get("rope_ratio", 1.0)),
    )
    heads, groups = config.num_attention_heads, config.multi_query_group_num
    if heads % groups:
        expected = f"a divisor of num_attention_heads ({heads})"
        raise _refusal(path, "multi_query_group_num", groups, expected)
    if config.kv_channels % 4:
        expected = "a multiple of 4, as RoPE turns pairs in half of each head"
        raise _refusal(path, "kv_channels", config.kv_channels, expected)
    return config


_SIZES = tuple(name for name, kind in ModelConfig.__annotations__.items() if kind == "int")


def _size(path: Path, fields: Mapping[str, Any], field: str) -> int:
    found = fields.get(field)
    if type(found) is not int or not 0 < found <= _LARGEST:
        raise _refusal(path, field, found, f"a whole number from 1 to {_LARGEST}")
    return found


def _positive(path: Path, field: str, found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < math.inf:
        raise _refusal(path, field, found, "a positive number")
    return float(found)


def _refusal(path: Path, field: str, found: object, expected: str) -> ModelError:
    shown = "missing" if found is None else json.dumps(found)
    return ModelError(
        f"{path} is not the config of a ChatGLM3: {field} is {shown[:80]}, "
        f"where {expected} is expected.",
        hint="glmd serves ChatGLM3 checkpoints only.",
    )
