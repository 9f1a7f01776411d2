"""The seed recipe through the real compiler, and what comes out through its simulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from support import cli
from support.checkpoints import NANO, write_checkpoint
from support.compiling import (
    TOY,
    TOY_NETS,
    glmd_compile,
    read_manifest,
    seed_words,
    sha256,
)

pytestmark = [pytest.mark.needs("export", "tpu_mlir"), pytest.mark.timeout(1100)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["f16", "int8", "int4"])
def test_nano_is_compiled_and_every_net_is_verified(mode: str, tmp_path: Path) -> None:
    words = seed_words(NANO, tmp_path, "--mode", mode, length=64)
    told = glmd_compile(*words)
    assert told.returncode == 0, told.stderr
    model = Path(told.stdout.strip())
    assert model == tmp_path / f"toy_{mode}_1dev" / f"toy_{mode}_1dev.bmodel"

    verified = glmd_compile("verify", *words, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    verdicts = json.loads(verified.stdout)
    assert [v["net"] for v in verdicts] == [net["name"] for net in read_manifest(model)["nets"]]
    assert len(verdicts) == 2 + 2 * 6 + 3
    assert min(v["cosine"] for v in verdicts) > 0.9999


def test_the_manifest_says_what_the_bmodel_is(toy_model: Path) -> None:
    manifest = read_manifest(toy_model)
    assert manifest["file"] == {
        "name": toy_model.name,
        "nbytes": toy_model.stat().st_size,
        "sha256": sha256(toy_model),
    }
    assert (manifest["target"], manifest["recipe"], manifest["mode"]) == ("bm1684x", "seed", "f16")
    assert manifest["toolchain"].startswith("tpu_mlir 1.")
    features = manifest["features"]
    assert (features["layers"], features["seq_length"], features["devices"]) == (1, 16, 1)
    assert features["kv_form"] == "shifted"
    assert len(manifest["nets"]) == TOY_NETS
    assert (toy_model.parent / "tokenizer.model").read_bytes() == (
        NANO / "tokenizer.model"
    ).read_bytes()


def test_nothing_is_left_but_logs_and_profiles(toy_model: Path) -> None:
    left = {path.name for path in (toy_model.parent / "nets").rglob("*") if path.is_file()}
    assert left == {"build.json", "log", "compiler_profile_0.txt"}


def test_a_killed_compile_resumed_gives_the_identical_file(
    toy: Path, toy_model: Path, tmp_path: Path
) -> None:
    words = seed_words(toy, tmp_path)
    nets = tmp_path / "toy_f16_1dev" / "nets"
    with subprocess.Popen([*cli.GLMD, "compile", *words], start_new_session=True) as compiling:
        while len(done := list(nets.glob("*/*.bmodel"))) < 3:
            assert compiling.poll() is None, "it was quicker than this test"
            time.sleep(0.05)
        os.killpg(compiling.pid, signal.SIGKILL)
    logs = {path: (path.parent / "log").stat().st_mtime_ns for path in done}

    told = glmd_compile(*words)
    assert told.returncode == 0, told.stderr
    assert sha256(Path(told.stdout.strip())) == sha256(toy_model)
    for path, touched in logs.items():
        assert (path.parent / "log").stat().st_mtime_ns == touched, f"{path.name} was made again"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_ends_a_compile_ends_its_tools(
    number: signal.Signals, code: int, toy: Path, tmp_path: Path
) -> None:
    command = [*cli.GLMD, "compile", *seed_words(toy, tmp_path)]
    logs = tmp_path / "toy_f16_1dev" / "nets"
    with subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as compiling:
        watched = psutil.Process(compiling.pid)
        tools: list[psutil.Process] = []
        while not tools:
            assert compiling.poll() is None, "it was quicker than this test"
            time.sleep(0.05)
            if list(logs.glob("*/log")):
                tools = watched.children(recursive=True)
        compiling.send_signal(number)
        _, told = compiling.communicate(timeout=60)
        assert compiling.returncode == code
    if number is signal.SIGINT:
        assert "the same command goes on from here" in told
    _, alive = psutil.wait_procs(tools, timeout=10)
    assert alive == []


def test_a_finished_model_is_left_alone(toy: Path, toy_model: Path) -> None:
    before = toy_model.stat()
    told = glmd_compile(*seed_words(toy, toy_model.parents[1]))
    assert told.returncode == 0
    assert told.stdout.strip() == str(toy_model)
    assert toy_model.stat().st_mtime_ns == before.st_mtime_ns


def test_the_steps_alone_give_the_same_file(toy: Path, toy_model: Path, tmp_path: Path) -> None:
    words = seed_words(toy, tmp_path, "--jobs", "1")
    early = glmd_compile("combine", *words)
    assert early.returncode == 1
    assert f"{TOY_NETS} of {TOY_NETS} nets are not compiled" in early.stderr
    for step in ("export", "deploy", "combine"):
        told = glmd_compile(step, *words)
        assert told.returncode == 0, told.stderr
    assert sha256(Path(told.stdout.strip())) == sha256(toy_model)


def test_a_net_that_fails_says_where_and_why(toy: Path, tmp_path: Path) -> None:
    words = seed_words(toy, tmp_path)
    assert glmd_compile("export", *words).returncode == 0
    net = tmp_path / "toy_f16_1dev" / "nets" / "lm_head"
    (net / "lm_head.onnx").write_bytes(b"no graph")
    told = glmd_compile("deploy", *words)
    assert told.returncode == 1
    first, *tail = told.stderr[told.stderr.index("glmd:") :].splitlines()
    assert first == f"glmd: lm_head: transform failed (exit code 1). The end of {net / 'log'}:"
    assert "DecodeError" in "\n".join(tail)
    assert tail[-1].startswith("Run the same command again")


def test_other_weights_are_compiled_anew(toy: Path, toy_model: Path, tmp_path: Path) -> None:
    assert glmd_compile("export", *seed_words(toy, tmp_path)).returncode == 0
    other = write_checkpoint(tmp_path / "other", TOY, seed=1)
    told = glmd_compile("export", *seed_words(other, tmp_path))
    assert told.returncode == 0
    assert "Begins anew" in told.stderr
    assert "other checkpoint" in told.stderr


def test_verify_fails_for_other_weights(toy: Path, toy_model: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path, TOY, seed=1)
    told = glmd_compile("verify", *seed_words(other, toy_model.parents[1]))
    assert told.returncode == 1
    table = {line.split()[0]: line.split()[-1] for line in told.stdout.splitlines()[1:]}
    assert table["block_0"] == "FAIL"
    assert table["greedy_head"] == "pass"  # it has no weights


def test_verify_refuses_another_length(toy: Path, toy_model: Path, tmp_path: Path) -> None:
    """The length is no part of the file's name."""
    told = glmd_compile("verify", *seed_words(toy, toy_model.parents[1], length=32))
    assert told.returncode == 1
    assert "toy_f16_1dev.bmodel was made with --seq-length 16, not 32." in told.stderr
