"""The serve recipe, the default, through the real compiler, and what comes out through its
simulator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import cli
from support.checkpoints import Shape, write_checkpoint
from support.compiling import compile_words, glmd_compile, read_manifest, sha256

from glmd.bmodel.reader import read_bmodel

pytestmark = [pytest.mark.needs("export", "tpu_mlir"), pytest.mark.timeout(1100)]

# Weights are most of it, as of a model of real size; the programs of 14 nets are not.
SHAPE = Shape(layers=1, hidden=256, heads=4, kv_heads=2, head_dim=64, ffn=512)
LENGTH = 32
KEYS = [
    *(f"embedding.{n}" for n in (32, 16, 8, 4, 2, 1)),
    "prefill_0.32",
    "chunk_0.16",
    *("decode8_0.8", "decode4_0.4", "decode2_0.2", "decode_0.1"),
    *(f"{head}.{n}" for head in ("lm_head", "greedy_head", "top_head") for n in (8, 4, 2, 1)),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("serve") / "checkpoint", SHAPE)


def words(checkpoint: Path, out: Path, *options: str) -> list[str]:
    return compile_words(checkpoint, out, "--mode", "int4", *options, length=LENGTH)


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = glmd_compile(*words(checkpoint, tmp_path_factory.mktemp("compiled")))
    assert told.returncode == 0, told.stderr
    return Path(told.stdout.strip())


def check_weights_are_stored_once(model: Path) -> None:
    bmodel = read_bmodel(model)
    layer = [net for net in bmodel.nets if net.name.endswith("_0")]
    digests = {part.digest for net in layer for stage in net.stages for part in stage.parts}
    assert len(layer) == 6
    assert len(digests) == 1
    decode = bmodel.net("decode_0")
    assert decode is not None
    ends = [net for name in ("embedding", "lm_head") if (net := bmodel.net(name))]
    needed = sum(net.stages[0].parts[0].weight_bytes for net in (decode, *ends))
    assert bmodel.weight_bytes == needed


def test_every_net_and_stage_is_verified(checkpoint: Path, model: Path) -> None:
    options = words(checkpoint, model.parents[1])
    verified = glmd_compile("verify", *options, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    verdicts = json.loads(verified.stdout)
    assert [verdict["net"] for verdict in verdicts] == KEYS
    assert min(verdict["cosine"] for verdict in verdicts) > 0.9995


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["f16", "int8"])
def test_other_modes_are_verified_and_store_weights_once(
    mode: str, checkpoint: Path, tmp_path: Path
) -> None:
    options = words(checkpoint, tmp_path, "--mode", mode, "--group-size", "128")
    told = glmd_compile(*options)
    assert told.returncode == 0, told.stderr
    check_weights_are_stored_once(Path(told.stdout.strip()))
    verified = glmd_compile("verify", *options, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert min(verdict["cosine"] for verdict in json.loads(verified.stdout)) > 0.9995


def test_verify_fails_for_other_weights(checkpoint: Path, model: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path, SHAPE, seed=1)
    options = words(other, model.parents[1])
    told = glmd_compile("verify", *options)
    assert told.returncode == 1
    table = {line.split()[0]: line.split()[-1] for line in told.stdout.splitlines()[1:]}
    assert {table[key] for key in ("prefill_0.32", "chunk_0.16", "decode8_0.8")} == {"FAIL"}
    assert table["greedy_head.4"] == "pass"  # it has no weights


def test_weights_are_stored_once(model: Path) -> None:
    check_weights_are_stored_once(model)
    for net in read_bmodel(model).nets:
        assert net.addr_mode == "io_reloc"


def test_the_manifest_lists_stages_and_their_times(model: Path) -> None:
    manifest = read_manifest(model)
    assert (manifest["recipe"], manifest["mode"]) == ("serve", "int4")
    assert [f"{net['name']}.{net['rows']}" for net in manifest["nets"]] == KEYS
    for net in manifest["nets"]:
        assert (net["seconds"] is None) == (net["name"] in ("greedy_head", "top_head"))
        assert net["seconds"] is None or 0 < net["seconds"] < 1


def test_nothing_is_left_but_logs_and_profiles(model: Path) -> None:
    left = {path.name for path in (model.parent / "nets").rglob("*") if path.is_file()}
    assert left - {"verify.log"} == {"build.json", "log", "compiler_profile_0.txt"}


def test_a_killed_compile_resumed_gives_the_identical_file(
    checkpoint: Path, model: Path, tmp_path: Path
) -> None:
    """Killed when one family of nets is joined, and others are not."""
    options = words(checkpoint, tmp_path)
    nets = tmp_path / "toy_int4_1dev" / "nets"
    with subprocess.Popen([*cli.GLMD, "compile", *options], start_new_session=True) as compiling:
        while not ((nets / "embedding.bmodel").exists() and list(nets.glob("*_0.*/*.bmodel"))):
            assert compiling.poll() is None, "it was quicker than this test"
            time.sleep(0.05)
        os.killpg(compiling.pid, signal.SIGKILL)
    told = glmd_compile(*options)
    assert told.returncode == 0, told.stderr
    assert sha256(Path(told.stdout.strip())) == sha256(model)


def test_the_steps_alone_give_the_same_file(checkpoint: Path, model: Path, tmp_path: Path) -> None:
    options = words(checkpoint, tmp_path)
    for step in ("export", "deploy", "combine"):
        told = glmd_compile(step, *options)
        assert told.returncode == 0, told.stderr
    assert sha256(Path(told.stdout.strip())) == sha256(model)


def test_several_devices_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    told = glmd_compile(*words(checkpoint, tmp_path, "--num-device", "2"))
    assert told.returncode == 1
    assert "--num-device 2: the nets of --recipe serve, the default, are for one" in told.stderr
    assert "give --recipe seed --num-device 2, and they share one" in told.stderr


def test_a_cache_without_room_for_a_piece(checkpoint: Path, tmp_path: Path) -> None:
    told = glmd_compile(*words(checkpoint, tmp_path, "--seq-length", "16"))
    assert told.returncode == 1
    assert "--seq-length 16 is too short for --recipe serve" in told.stderr


@pytest.mark.parametrize(
    ("step", "option", "said"),
    [
        ("verify", ("--recipe", "seed"), "was made with --recipe serve, not seed."),
        ("verify", ("--seq-length", "64"), "was made with --seq-length 32, not 64."),
        ("export", ("--device", "cpu"), "--device means nothing for --recipe serve"),
    ],
)
def test_options_that_do_not_fit(
    step: str, option: tuple[str, str], said: str, checkpoint: Path, model: Path
) -> None:
    told = glmd_compile(step, *words(checkpoint, model.parents[1], *option))
    assert told.returncode == (2 if step == "export" else 1)
    assert said in told.stderr
