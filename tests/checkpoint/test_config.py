"""config.json: read for ChatGLM3, refused for anything else by a sentence that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import SIX_B, Shape
from support.requirements import real_tokenizer

from glmd.checkpoint.config import parse_config, read_fields
from glmd.errors import ModelError

HERE = Path("model/config.json")


def test_every_number_is_taken_from_its_field() -> None:
    shape = Shape(
        layers=3, hidden=72, heads=6, kv_heads=3, head_dim=20, ffn=51, vocab=333, seq_length=99,
        norm_eps=1e-6, rope_ratio=50,
    )  # fmt: skip
    config = parse_config(shape.config(), HERE)
    assert config.num_layers == 3
    assert config.hidden_size == 72
    assert config.num_attention_heads == 6
    assert config.multi_query_group_num == 3
    assert config.kv_channels == 20
    assert config.ffn_hidden_size == 51
    assert config.padded_vocab_size == 333
    assert config.seq_length == 99
    assert config.layernorm_epsilon == 1e-6
    assert config.rope_base == 500_000
    assert config.projection_size == 120
    assert config.qkv_size == 240


@pytest.mark.needs("real_tokenizer")
def test_the_config_of_chatglm3_6b() -> None:
    path = real_tokenizer() / "config.json"
    config = parse_config(read_fields(path), path)
    assert config == parse_config(SIX_B.config(), HERE)
    assert config.rope_base == 10_000
    assert config.kv_bytes_per_token == 28_672


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model_type", "llama", '"chatglm"'),
        ("model_type", None, "missing"),
        ("architectures", ["LlamaForCausalLM"], '"ChatGLMModel"'),
        ("architectures", "ChatGLMModel", '["ChatGLMModel"]'),
        ("add_bias_linear", True, "false"),
        ("add_qkv_bias", False, "true"),
        ("apply_residual_connection_post_layernorm", True, "false"),
        ("multi_query_attention", False, "true"),
        ("original_rope", False, "true"),
        ("post_layer_norm", False, "true"),
        ("pre_seq_len", 128, "null"),
        ("quantization_bit", 4, "0"),
        ("rmsnorm", False, "true"),
        ("num_layers", None, "a whole number"),
        ("num_layers", 0, "a whole number"),
        ("num_layers", 28.0, "a whole number"),
        ("num_layers", True, "a whole number"),
        ("hidden_size", "4096", "a whole number"),
        ("padded_vocab_size", -1, "a whole number"),
        ("seq_length", 1 << 40, "a whole number"),
        ("layernorm_epsilon", 0, "a positive number"),
        ("layernorm_epsilon", float("nan"), "a positive number"),
        ("layernorm_epsilon", None, "a positive number"),
        ("rope_ratio", "50", "a positive number"),
        ("rope_ratio", float("inf"), "a positive number"),
        ("multi_query_group_num", 3, "a divisor of num_attention_heads (4)"),
        ("kv_channels", 18, "a multiple of 4"),
    ],
)
def test_what_is_no_chatglm3_is_refused(field: str, value: Any, said: str) -> None:
    fields = Shape().config() | {field: value}
    with pytest.raises(ModelError) as refused:
        parse_config(fields, HERE)
    for part in (str(HERE), field, said, "missing" if value is None else json.dumps(value)):
        assert part in refused.value.message
    assert refused.value.hint


def test_a_field_left_out_has_the_default_of_chatglm() -> None:
    fields = Shape().config()
    for field in ("rope_ratio", "architectures", "add_bias_linear", "rmsnorm", "original_rope"):
        del fields[field]
    assert parse_config(fields, HERE).rope_base == 10_000


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_fields(path)
