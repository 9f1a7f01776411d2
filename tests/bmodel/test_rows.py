"""Nets that compute rows of any conversations: what is read from them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.bmodel_files import tensor, write_bmodel
from support.row_nets import RowGlm

from glmd.bmodel.features import Features, read_features
from glmd.bmodel.layers import Width
from glmd.bmodel.nets import Net
from glmd.bmodel.reader import read_bmodel
from glmd.errors import ModelError


def features(folder: Path, nets: list[Net]) -> Features:
    return read_features(read_bmodel(write_bmodel(folder / "model.bmodel", nets)))


def test_what_they_can_do(tmp_path: Path) -> None:
    found = features(tmp_path, RowGlm().nets())
    assert (found.layers, found.seq_length, found.vocab) == (2, 64, 2304)
    assert (found.prefill, found.chunks, found.decodes) == ((32, 64), (16, 32), (1, 2, 4))
    assert found.width == Width(256, 2, 64, "f16", "f16")
    assert (found.hidden_layout, found.kv_form, found.output) == ("[S,H]", "row", "logits")
    assert (found.heads, found.others) == (("greedy_head", "top_head"), ())
    assert (found.addr_mode, found.prefill_addr_mode) == ("io_reloc", "io_reloc")


def test_prompts_may_be_all_chunks(tmp_path: Path) -> None:
    found = features(tmp_path, RowGlm(prefills=(), chunks=(16, 128)).nets())
    assert (found.prefill, found.chunks) == ((), (16, 128))


def without(*names: str) -> Callable[[list[Net]], list[Net]]:
    return lambda nets: [net for net in nets if net.name not in names]


def changed(name: str, change: Callable[[Net], Net]) -> Callable[[list[Net]], list[Net]]:
    return lambda nets: [change(net) if net.name == name else net for net in nets]


def _short(net: Net) -> Net:
    return replace(net, stages=net.stages[1:])


def _less_history(net: Net) -> Net:
    key = tensor("history", "f16", 60, 2, 64)
    stages = [replace(s, inputs=(*s.inputs[:3], key, key)) for s in net.stages]
    return replace(net, stages=tuple(stages))


def _one_row_back(net: Net) -> Net:
    row = tensor("past", "f16", 1, 2, 64)
    return replace(
        net, stages=tuple(replace(s, outputs=(s.outputs[0], row, row)) for s in net.stages)
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without("chunk_1"), r"it has no chunk_1 \(expected: one for each of 2\)"),
        (without("decode_0", "decode2_0", "decode4_0"), "it has no decode_0"),
        (without("embedding"), "it has no embedding"),
        (without("decode4_1"), r"decode has \(1, 2\) rows in one layer and \(1, 2, 4\) in another"),
        (changed("embedding", _short), "embedding looks up 1 or 2 or 4 or 16 or 32 ids"),
        (changed("chunk_0", _less_history), "chunk_0 takes .* K and V of 64 positions"),
        (changed("chunk_1", _one_row_back), r"chunk_1 returns .* 16 rows of K and V"),
        (changed("prefill_1", _one_row_back), "prefill_1 returns .* 32 rows of K and V"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, change: Callable[[list[Net]], list[Net]], sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        features(tmp_path, change(RowGlm().nets()))


def test_they_are_for_one_device(tmp_path: Path) -> None:
    bmodel = read_bmodel(write_bmodel(tmp_path / "model.bmodel", RowGlm().nets()))
    with pytest.raises(ModelError, match="it is compiled for 2 devices"):
        read_features(replace(bmodel, devices=2))
