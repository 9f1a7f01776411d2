"""Several devices: weights are split, or the compile fails and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import Shape, write_checkpoint, write_large_checkpoint
from support.compiling import TOY, glmd_compile, seed_words

from glmd.bmodel.features import read_features
from glmd.bmodel.reader import read_bmodel

pytestmark = [pytest.mark.needs("export", "tpu_mlir"), pytest.mark.timeout(600)]

# The MLP's matrices have 8 Mi elements each: more than TPU-MLIR leaves whole.
WIDE = Shape(layers=1, hidden=1024, heads=8, kv_heads=2, head_dim=128, ffn=8192)


def test_a_small_model_is_not_split(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", TOY)
    words = seed_words(checkpoint, tmp_path, "--num-device", "2", "--jobs", "1")
    told = glmd_compile(*words)
    assert (told.returncode, told.stdout) == (1, "")
    assert "glmd: block_0 is not split: each of 2 devices has all of its weights" in told.stderr
    assert "Leave --num-device out" in told.stderr
    assert not list(tmp_path.rglob("block_0.bmodel"))


def test_int8_is_not_split_at_all(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", TOY)
    words = seed_words(checkpoint, tmp_path, "--num-device", "4", "--mode", "int8")
    told = glmd_compile(*words)
    assert (told.returncode, told.stdout) == (1, "")
    assert "cannot split int8 weights over devices" in told.stderr


@pytest.mark.slow
def test_a_large_layer_is_split(tmp_path: Path) -> None:
    checkpoint = write_large_checkpoint(tmp_path / "checkpoint", WIDE)
    words = seed_words(checkpoint, tmp_path, "--num-device", "2", "--mode", "int4")
    told = glmd_compile(*words)
    assert told.returncode == 0, told.stderr
    bmodel = read_bmodel(Path(told.stdout.strip()))
    features = read_features(bmodel)
    assert (features.devices, features.width.kv_heads) == (2, 2)
    assert features.quantisation is not None
    assert features.quantisation.mode == "int4"
    mlp = 3 * WIDE.hidden * WIDE.ffn // 2  # bytes in int4
    for name in ("block_0", "block_cache_0"):
        net = bmodel.net(name)
        assert net is not None
        for device in (0, 1):
            own = sum(part.weight_bytes for part in net.stages[0].on(device).parts)
            assert own < 0.8 * mlp
