"""What the engine learns of a bmodel's speed from the manifest beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from glmd.bmodel.estimates import read_estimates


def net(name: str, rows: int, seconds: float | None) -> dict[str, Any]:
    return {"name": name, "rows": rows, "seconds": seconds, "inputs": [], "outputs": []}


LAYERS = [
    net(f"{name}_{layer}", rows, seconds)
    for layer in range(2)
    for name, rows, seconds in [
        ("prefill", 64, 0.25),
        ("chunk", 16, 0.5),
        ("decode", 1, 1.0),
        ("decode8", 8, 2.0),
    ]
]
HEADS = [net("lm_head", 1, 0.125), net("lm_head", 8, 0.25), net("greedy_head", 1, None)]


def beside(tmp_path: Path, manifest: Any) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "model.bmodel"


def of(*nets: dict[str, Any]) -> dict[str, Any]:
    return {"file": {"name": "model.bmodel", "nbytes": 1}, "mode": "f16", "nets": [*nets]}


def test_a_step_is_all_layers_and_the_head(tmp_path: Path) -> None:
    model = beside(tmp_path, of(net("embedding", 8, 0.5), *LAYERS, *HEADS))
    assert read_estimates(model) == {
        ("prefill", 64): 0.625,
        ("chunk", 16): 1.125,
        ("decode", 1): 2.125,
        ("decode", 8): 4.25,
    }


def test_the_seed_recipe_has_other_names(tmp_path: Path) -> None:
    nets = [net("block_0", 512, 8.0), net("block_cache_0", 1, 1.0), net("lm_head", 1, 0.5)]
    assert read_estimates(beside(tmp_path, of(*nets))) == {
        ("prefill", 512): 8.5,
        ("decode", 1): 1.5,
    }


def test_a_step_of_which_a_part_is_not_known_is_left_out(tmp_path: Path) -> None:
    model = beside(tmp_path, of(*LAYERS, net("chunk_2", 16, None)))
    assert read_estimates(model).keys() == {("prefill", 64), ("decode", 1), ("decode", 8)}


@pytest.mark.parametrize(
    "manifest",
    [
        {"file": {"name": "model.bmodel"}},
        {"file": {"name": "other.bmodel"}, "nets": LAYERS},
        of({"name": "block_0", "inputs": [], "outputs": []}),
        of(net("decode_0", 1, 0.0)),
        of(net("decode_0", 1, "soon")),  # type: ignore[arg-type]
        [],
    ],
    ids=["no nets", "of another file", "no times", "no time at all", "no number", "no manifest"],
)
def test_what_does_not_tell_is_no_estimate(tmp_path: Path, manifest: Any) -> None:
    assert read_estimates(beside(tmp_path, manifest)) == {}


def test_a_bmodel_by_itself(tmp_path: Path) -> None:
    assert read_estimates(tmp_path / "model.bmodel") == {}


def test_a_manifest_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe{")
    assert read_estimates(tmp_path / "model.bmodel") == {}
