"""From the times of single nets to those of a model; and the command, on the real compiler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.checkpoints import write_checkpoint
from support.compiling import TOY, glmd_compile, seed_words

from glmd.compiler.estimate.estimate import Estimate
from glmd.compiler.estimate.profile import Profile
from glmd.errors import CompileFailed

# As TPU-MLIR 1.30.2 times ChatGLM3-6B in int4.
NETS = {
    "block_0": Profile(33.1e-3, 0),
    "block_cache_0": Profile(2.91e-3, 125_000_000),
    "lm_head": Profile(2.72e-3, 146_000_000),
    "greedy_head": None,
}
TOKEN = {"block_cache_0": 28, "lm_head": 1}
PROMPT = {"block_0": 28, "lm_head": 1}


def test_a_token_is_all_layers_and_the_head() -> None:
    estimate = Estimate(NETS, TOKEN, PROMPT)
    assert estimate.token_seconds == pytest.approx(28 * 2.91e-3 + 2.72e-3)
    assert estimate.tokens_per_second == pytest.approx(11.9, abs=0.05)
    assert estimate.first_token_seconds == pytest.approx(0.93, abs=0.005)


@pytest.mark.parametrize("name", ["block_cache_0", "lm_head"])
def test_a_net_that_was_not_timed(name: str) -> None:
    with pytest.raises(CompileFailed, match=f"left no profile of {name}"):
        Estimate(NETS | {name: None}, TOKEN, PROMPT).token_seconds  # noqa: B018


@pytest.mark.needs("export", "tpu_mlir")
@pytest.mark.timeout(300)
def test_the_command(tmp_path: Path) -> None:
    """It compiles a net of each kind once; a second run reads what is there, and so would a
    compile."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", TOY)
    words = seed_words(checkpoint, tmp_path, "--mode", "int4")
    told = glmd_compile("estimate", *words, "--json")
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert facts["label"] == "compiler estimate"
    assert list(facts["nets"]) == [
        "block_0",
        "block_cache_0",
        "lm_head",
        "greedy_head",
        "penalty_sample_head",
    ]
    assert facts["nets"]["greedy_head"] is None
    timed = facts["nets"]["block_cache_0"]
    assert facts["token_seconds"] == pytest.approx(
        TOY.layers * timed["seconds"] + facts["nets"]["lm_head"]["seconds"]
    )

    nets = tmp_path / "toy_int4_1dev" / "nets"
    made = {path: path.stat().st_mtime_ns for path in nets.glob("*/*.bmodel")}
    assert len(made) == 5
    again = glmd_compile("estimate", *words)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in nets.glob("*/*.bmodel")} == made
    assert f"{facts['tokens_per_second']:.2f} tokens/s" in again.stdout
    assert "(compiler estimate)" in again.stdout


@pytest.mark.needs("export", "tpu_mlir")
def test_several_devices_are_not_timed(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", TOY)
    told = glmd_compile("estimate", *seed_words(checkpoint, tmp_path, "--num-device", "2"))
    assert told.returncode == 1
    assert "estimates for one device only" in told.stderr
