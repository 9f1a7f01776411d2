"""What is read from the nets of each family in the field, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.bmodel_files import net, tensor, write_bmodel
from support.bmodel_nets import Glm

from glmd.bmodel.features import Features, read_features
from glmd.bmodel.layers import Width
from glmd.bmodel.nets import Net
from glmd.bmodel.quantisation import Quantisation
from glmd.bmodel.reader import read_bmodel
from glmd.errors import ModelError
from glmd.packed import Mode


def features(folder: Path, nets: list[Net], **more: Any) -> Features:
    return read_features(read_bmodel(write_bmodel(folder / "model.bmodel", nets, **more)))


def test_the_seed_recipe(tmp_path: Path) -> None:
    assert features(tmp_path, Glm().nets()) == Features(
        layers=2,
        seq_length=64,
        prefill=(64,),
        width=Width(hidden=256, kv_heads=2, head_dim=64, dtype="f16", mask_dtype="f16"),
        hidden_layout="[S,1,H]",
        kv_form="shifted",
        output="logits",
        vocab=2304,
        heads=("greedy_head", "penalty_sample_head"),
        others=(),
        devices=1,
        addr_mode="basic",
        prefill_addr_mode="basic",
        quantisation=Quantisation("f16"),
        head_quantisation=Quantisation("f16"),
    )


def test_the_vendor_converter(tmp_path: Path) -> None:
    """Hidden states [1, S, H], a token instead of logits, no heads: the size of
    the vocabulary is that of the embedding."""
    glm = Glm(
        layers=3,
        rows_second=True,
        qkv="apart",
        output="token",
        heads=(),
        addr_mode="io_alone",
    )
    found = features(tmp_path, glm.nets())
    assert (found.layers, found.hidden_layout, found.kv_form) == (3, "[1,S,H]", "shifted")
    assert (found.output, found.vocab, found.heads) == ("token", 2304, ())
    assert (found.addr_mode, found.prefill_addr_mode) == ("io_alone", "basic")


def test_the_vendor_converter_with_do_sample(tmp_path: Path) -> None:
    glm = Glm(rows_second=True, qkv="apart", heads=("greedy_head", "sample_head"))
    found = features(tmp_path, glm.nets())
    assert (found.output, found.heads) == ("logits", ("greedy_head", "sample_head"))


def test_the_new_row_alone(tmp_path: Path) -> None:
    assert features(tmp_path, Glm(kv_form="row").nets()).kv_form == "row"


def test_old_names(tmp_path: Path) -> None:
    glm = Glm(prefix="glm_", stages=True, mask="f32", output="token", heads=())
    found = features(tmp_path, glm.nets())
    assert (found.layers, found.prefill, found.width.mask_dtype) == (2, (64,), "f32")


@pytest.mark.parametrize("devices", [2, 4])
def test_several_devices(tmp_path: Path, devices: int) -> None:
    glm = Glm(devices=devices, kv_heads=1, heads=(), mode="int8")
    found = features(tmp_path, glm.nets(), devices=devices)
    assert (found.devices, found.width.kv_heads) == (devices, 1)
    assert found.quantisation is not None
    assert found.quantisation.mode == "int8"


def test_nets_of_no_known_use_are_named(tmp_path: Path) -> None:
    other = net("block_prompt_0", [tensor("x", "f16", 1)], [tensor("y", "f16", 1)])
    assert features(tmp_path, [*Glm().nets(), other]).others == ("block_prompt_0",)


def test_several_lengths_of_prompt(tmp_path: Path) -> None:
    short, long = ({net.name: net for net in Glm(seq_length=length).nets()} for length in (32, 64))
    nets = [
        replace(net, stages=short[name].stages + net.stages)
        if name in ("embedding", "block_0", "block_1")
        else net
        for name, net in long.items()
    ]
    found = features(tmp_path, nets)
    assert (found.prefill, found.seq_length) == ((32, 64), 64)


@pytest.mark.parametrize("mode", ["f16", "int8", "int4"])
@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("hidden", [256, 512, 4096])
@pytest.mark.parametrize("qkv", ["fused", "apart"])
def test_quantisation(tmp_path: Path, mode: Mode, group: int, hidden: int, qkv: Any) -> None:
    glm = Glm(hidden=hidden, ffn=3 * hidden // 2, vocab=2560, mode=mode, group=group, qkv=qkv)
    found = features(tmp_path, glm.nets())
    for quantisation in (found.quantisation, found.head_quantisation):
        assert quantisation is not None
        assert quantisation.mode == mode
        assert quantisation.group in ((None,) if mode == "f16" else (group, None))
    assert found.head_quantisation == Quantisation(mode, None if mode == "f16" else group)


def test_quantisation_that_the_sizes_do_not_tell(tmp_path: Path) -> None:
    odd = [_without_weights(net) if net.name == "block_cache_0" else net for net in Glm().nets()]
    assert features(tmp_path, odd).quantisation is None


def _without_weights(net: Net) -> Net:
    stage = net.stages[0]
    return replace(net, stages=(replace(stage, parts=(replace(stage.parts[0], weights=()),)),))


def without(*names: str) -> Callable[[list[Net]], list[Net]]:
    return lambda nets: [net for net in nets if net.name not in names]


def other(name: str, glm: Glm) -> Callable[[list[Net]], list[Net]]:
    """With one net of another model."""
    instead = {net.name: net for net in glm.nets()}
    return lambda nets: [instead[net.name] if net.name == name else net for net in nets]


def cut(name: str) -> Callable[[list[Net]], list[Net]]:
    """With a net that lacks its last input."""

    def spoil(nets: list[Net]) -> list[Net]:
        return [
            replace(found, stages=(replace(found.stages[0], inputs=found.stages[0].inputs[:-1]),))
            if found.name == name
            else found
            for found in nets
        ]

    return spoil


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            without("block_0", "block_1", "block_cache_0", "block_cache_1"),
            "its nets are embedding, embedding_cache, lm_head and so on (expected: block_0, "
            "block_cache_0 and so on)",
        ),
        (without("block_cache_1"), "it has no block_cache_1 (expected: one for each of 2)"),
        (without("block_0"), "it has no block_0 (expected: one for each of 2)"),
        (without("lm_head"), "it has no lm_head (expected: one that makes logits or a token)"),
        (
            without("embedding_cache"),
            "embedding looks up 64 ids (expected: one that looks up 1)",
        ),
        (
            without("embedding", "embedding_cache"),
            "it has no embedding (expected: a net that looks",
        ),
        (
            other("block_1", Glm(seq_length=32)),
            "block_1 has other tensors than block_0 (expected: the same)",
        ),
        (other("embedding", Glm(hidden=128)), "embedding takes i32 [1, 64] and returns f16"),
        (
            other("lm_head", Glm(hidden=128)),
            "lm_head takes f16 [1, 128] (expected: 256 hidden values",
        ),
        (
            cut("block_cache_0"),
            "block_cache_1 has other tensors than block_cache_0 (expected: the same)",
        ),
    ],
)
def test_what_is_refused(
    tmp_path: Path, spoil: Callable[[list[Net]], list[Net]], sentence: str
) -> None:
    with pytest.raises(ModelError) as refused:
        features(tmp_path, spoil(Glm().nets()))
    assert f"model.bmodel cannot be served: {sentence}" in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            cut("block_cache_0"),
            "block_cache_0 takes f16 [1, 1, 256], i32 [1, 1], f16 [1, 1, 1, 65], "
            "f16 [64, 1, 2, 64] (expected: hidden states, position ids, a mask, K and V)",
        ),
        (
            cut("block_0"),
            "block_0 takes f16 [64, 1, 256], i32 [1, 64] (expected: hidden states, position ids "
            "and a mask)",
        ),
        (
            other("block_0", Glm(head_dim=32)),
            "block_0 has hidden 256, KV heads 2 of 32, f16, mask f16 and block_cache_0 hidden 256, "
            "KV heads 2 of 64, f16, mask f16 (expected: the same in both)",
        ),
        (
            other("block_cache_0", Glm(seq_length=32)),
            "block_0 reads 64 tokens into a cache of 32 (expected: room for them)",
        ),
    ],
)
def test_a_layer_that_is_refused(
    tmp_path: Path, spoil: Callable[[list[Net]], list[Net]], sentence: str
) -> None:
    with pytest.raises(ModelError) as refused:
        features(tmp_path, spoil(Glm(layers=1).nets()))
    assert sentence in refused.value.message


def test_another_chip(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"it is compiled for BM1688 \(expected: BM1684X\)"):
        features(tmp_path, Glm().nets(), chip="BM1688")
