"""`glmd compile info` on files of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.bmodel_files import net, tensor, write_bmodel
from support.bmodel_nets import Glm
from support.cli import call


def test_a_seed_bmodel(tmp_path: Path) -> None:
    path = write_bmodel(tmp_path / "model.bmodel", Glm(layers=28, mode="int4").nets())
    code, stdout, stderr = call("compile", "info", str(path))
    assert (code, stderr) == (0, "")
    for line in (
        "model        28 layers, hidden 256, vocabulary 2304",
        "context      64 tokens; prompts of 64 at once",
        "output       lm_head gives logits, greedy_head, penalty_sample_head",
        "addresses    basic for a prompt, basic for a token",
    ):
        assert line in stdout
    rows = [line.split() for line in stdout.split("\n\n")[1].splitlines()]
    assert [row[0] for row in rows] == [
        "net",
        "embedding",
        "embedding_cache",
        "block_0…27",
        "block_cache_0…27",
        "lm_head",
        "greedy_head",
        "penalty_sample_head",
    ]
    assert rows[3][1:] == [
        "static",
        "f16[64,1,256]",
        "i32[1,64]",
        "f16[1,1,64,64]",
        "f16[64,1,256]",
        "f16[64,1,2,64]",
        "f16[64,1,2,64]",
    ]


def test_facts_for_programs(tmp_path: Path) -> None:
    nets = Glm(devices=2, kv_heads=1, heads=(), output="token", addr_mode="io_alone").nets()
    path = write_bmodel(tmp_path / "model.bmodel", nets, devices=2)
    code, stdout, stderr = call("compile", "info", str(path), "--json")
    assert (code, stderr) == (0, "")
    facts = json.loads(stdout)
    assert (facts["chip"], facts["devices"], len(facts["memory"])) == ("BM1684X", 2, 2)
    assert facts["refused"] is None
    features = facts["features"]
    assert (features["layers"], features["output"], features["vocab"]) == (2, "token", 2304)
    assert features["width"]["kv_heads"] == 1
    assert features["addr_mode"] == "io_alone"
    assert features["quantisation"] == {"mode": "f16", "group": None}
    block = next(net for net in facts["nets"] if net["name"] == "block_0")
    assert [t["device"] for t in block["stages"][0]["inputs"]] == [0, 0, 0, 1, 1, 1]
    assert len(block["stages"][0]["weights"]) == 2


def test_what_glmd_cannot_serve_is_described_too(tmp_path: Path) -> None:
    other = net("yolo", [tensor("image", "f32", 1, 3, 640, 640)], [tensor("boxes", "f32", 1, 9)])
    path = write_bmodel(tmp_path / "model.bmodel", [other])
    code, stdout, stderr = call("compile", "info", str(path))
    assert code == 0
    assert "f32[1,3,640,640]" in stdout
    assert f"{path} cannot be served: its nets are yolo (expected: block_0" in stderr
    facts = json.loads(call("compile", "info", str(path), "--json").stdout)
    assert facts["features"] is None
    assert "cannot be served" in facts["refused"]


@pytest.mark.parametrize("cut", [0, 100, 4000])
def test_broken_files(tmp_path: Path, cut: int) -> None:
    path = write_bmodel(tmp_path / "model.bmodel", Glm().nets())
    path.write_bytes(path.read_bytes()[:cut])
    code, stdout, stderr = call("compile", "info", str(path), "--json")
    assert (code, stdout) == (1, "")
    assert stderr.startswith(f"glmd: {path} ")
