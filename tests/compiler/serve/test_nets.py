"""Which nets and stages the serve recipe has."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from support.checkpoints import Shape, write_checkpoint

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.nets import Net
from glmd.compiler.serve.nets import serve_nets


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("serve") / "checkpoint"
    return Checkpoint.open(write_checkpoint(folder, Shape())).config


def rows(nets: Iterable[Net], name: str) -> list[int | None]:
    return [net.rows for net in nets if net.name == name]


@pytest.mark.parametrize(
    ("length", "prefill", "chunks"),
    [
        (16, [16], []),
        (32, [32], [16]),
        (128, [128, 64], [64, 32, 16]),
        (512, [512, 256, 128, 64], [128, 64, 32, 16]),
        (8192, [512, 256, 128, 64], [128, 64, 32, 16]),
    ],
)
def test_lengths_that_fit(
    config: ModelConfig, length: int, prefill: list[int], chunks: list[int]
) -> None:
    """The largest first: a host that makes room for the first has room for all."""
    nets = serve_nets(config, length)
    assert rows(nets, "prefill_1") == prefill
    assert rows(nets, "chunk_1") == chunks
    assert rows(nets, "embedding") == sorted({1, 2, 4, 8, *prefill, *chunks}, reverse=True)
    assert rows(nets, "lm_head") == rows(nets, "greedy_head") == rows(nets, "top_head")
    assert rows(nets, "top_head") == [8, 4, 2, 1]


def test_names_are_given_once(config: ModelConfig) -> None:
    nets = serve_nets(config, 512)
    assert len({net.key for net in nets}) == len(nets) == 10 + 2 * (4 + 4 + 4) + 3 * 4


def test_a_batch_has_a_history_for_each_row(config: ModelConfig) -> None:
    (net,) = (net for net in serve_nets(config, 32) if net.name == "decode2_0")
    cache = 32, config.multi_query_group_num, config.kv_channels
    assert [(port.name, port.shape) for port in net.inputs] == [
        ("input_states", (2, config.hidden_size)),
        ("position_ids", (1, 2)),
        ("attention_mask", (2, 1, 1, 33)),
        ("history_k_0", cache),
        ("history_v_0", cache),
        ("history_k_1", cache),
        ("history_v_1", cache),
    ]
    names = [port.name for port in net.outputs]
    assert names == ["hidden_states", "past_k_0", "past_v_0", "past_k_1", "past_v_1"]
    assert net.outputs[1].shape == (1, *cache[1:])


def test_a_family_is_what_shares_weights(config: ModelConfig) -> None:
    families = [net.family for net in serve_nets(config, 32)]
    assert sorted(set(families)) == [
        "embedding",
        "greedy_head",
        "layer_0",
        "layer_1",
        "lm_head",
        "top_head",
    ]
    assert families == sorted(families, key=families.index), "those of one stand together"
