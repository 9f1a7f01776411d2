"""From recorded launches and the times of single nets to what users wait; and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.checkpoints import Shape, write_checkpoint
from support.compiling import compile_words, glmd_compile

from glmd.compiler.estimate.launches import Case, read_cases
from glmd.compiler.estimate.profile import Profile
from glmd.compiler.estimate.serve import ServeEstimate
from glmd.errors import CompileFailed

STEPS = [
    {
        "case": "first token, 70",
        "step": "prefill 64",
        "launches": [["embedding", 64], ["prefill_0", 64], ["prefill_1", 64]],
    },
    {
        "case": "first token, 70",
        "step": "chunk 16",
        "launches": [
            ["embedding", 16],
            ["chunk_0", 16],
            ["chunk_1", 16],
            ["lm_head", 1],
            ["greedy_head", 1],
        ],
    },
    {
        "case": "decode 4",
        "step": "decode 4",
        "launches": [["embedding", 4], ["decode4_0", 4], ["decode4_1", 4], ["lm_head", 4]],
    },
]
NETS = {
    ("prefill", 64): Profile(3e-3, 0),
    ("chunk", 16): Profile(2e-3, 0),
    ("decode4", 4): Profile(1e-3, 0),
    ("lm_head", 1): Profile(5e-3, 0),
    ("lm_head", 4): Profile(6e-3, 0),
}


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Case]:
    path = tmp_path / "launches.jsonl"
    path.write_text("".join(json.dumps(step) + "\n" for step in STEPS))
    return read_cases(path)


def test_layers_are_counted_as_the_model_has_them(cases: dict[str, Case]) -> None:
    estimate = ServeEstimate(NETS, cases, layers=28)
    assert list(cases) == estimate.possible() == ["first token, 70", "decode 4"]
    assert cases["first token, 70"].launches(28) == 2 * 28 + 4
    assert cases["decode 4"].launches(28) == 28 + 2
    assert estimate.seconds("first token, 70", 0) == pytest.approx(28 * 5e-3 + 5e-3)
    assert estimate.seconds("decode 4", 1e-4) == pytest.approx(28e-3 + 6e-3 + 30e-4)
    assert estimate.tokens_per_second("decode 4", 0) == pytest.approx(4 / 34e-3)
    assert estimate.tokens_per_second("first token, 70") is None


def test_a_length_that_a_short_cache_has_not(cases: dict[str, Case]) -> None:
    nets = {launch: profile for launch, profile in NETS.items() if launch[0] != "prefill"}
    assert ServeEstimate(nets, cases, layers=2).possible() == ["decode 4"]


def test_a_net_of_a_layer_that_was_not_timed(cases: dict[str, Case]) -> None:
    estimate = ServeEstimate(NETS | {("decode4", 4): None}, cases, layers=2)
    with pytest.raises(CompileFailed, match="no profile of decode4 for 4 rows"):
        estimate.seconds("decode 4")


def test_what_was_recorded() -> None:
    cases = read_cases()
    assert list(cases) == [
        *(f"first token, {n}" for n in (16, 64, 150, 512)),
        "next turn, 40 on 400",
        *(f"decode {n}" for n in (1, 2, 4, 8)),
    ]
    for n in (1, 2, 4, 8):
        assert list(cases[f"decode {n}"].layers.values()) == [1.0]


@pytest.mark.needs("export", "tpu_mlir")
@pytest.mark.timeout(600)
def test_the_command(tmp_path: Path) -> None:
    """A second run reads what is there, as a compile would."""
    shape = Shape(layers=2, hidden=64, heads=2, kv_heads=1, head_dim=32, ffn=128)
    checkpoint = write_checkpoint(tmp_path / "checkpoint", shape)
    words = compile_words(checkpoint, tmp_path, length=32)
    told = glmd_compile("estimate", *words, "--launch-cost", "0.05", "--json")
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert facts["label"] == "compiler estimate"
    assert facts["launch_seconds"] == pytest.approx(5e-5)
    # 16 rows are a chunk; all longer cases have lengths that a cache of 32 rows has not.
    assert list(facts["cases"]) == ["first token, 16", *(f"decode {n}" for n in (1, 2, 4, 8))]
    seconds = {(net["name"], net["rows"]): net["seconds"] for net in facts["nets"]}
    decode = facts["cases"]["decode 4"]
    assert decode["launches"] == 5
    assert decode["seconds"] == pytest.approx(
        2 * seconds["decode4", 4] + seconds["lm_head", 4] + 5 * 5e-5
    )
    again = glmd_compile("estimate", *words)
    assert again.returncode == 0, again.stderr
    assert "case (compiler estimate)" in again.stdout
    assert "With 0.1 ms a launch" in again.stderr
