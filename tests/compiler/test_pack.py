"""`glmd compile --target cpu`: a packed file with the tokenizer and the manifest of a bmodel."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import cli
from support.checkpoints import write_checkpoint
from support.compiling import read_manifest, sha256

from glmd.checkpoint.folder import Checkpoint
from glmd.daemon.engine.packing import MATRIX_KIND, write_packed
from glmd.packed import Mode, PackedModel


@pytest.mark.parametrize("mode", ["f16", "int8", "int4"])
def test_it_is_the_file_that_the_engine_packs(mode: Mode, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    told = cli.run(
        *("compile", str(checkpoint), "--target", "cpu", "--mode", mode),
        *("--name", "toy", "--out", str(tmp_path)),
    )
    assert told.returncode == 0, told.stderr
    path = Path(told.stdout.strip())
    assert path == tmp_path / f"toy_{mode}_cpu" / f"toy_{mode}_cpu.glmd"
    assert PackedModel.open(path).mode == mode
    write_packed(Checkpoint.open(checkpoint), mode, tmp_path / "other", lambda done, total: None)
    assert sha256(path) == sha256(tmp_path / "other")

    manifest = read_manifest(path)
    assert manifest["file"]["sha256"] == sha256(path)
    assert (manifest["target"], manifest["mode"]) == ("cpu", mode)
    kind = MATRIX_KIND[mode]
    assert manifest["quantisation"] == {"embedding": "rows_f16", "layers": kind, "lm_head": kind}


def test_a_checkpoint_that_cannot_be_packed(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint", tokenizer=None)
    told = cli.run("compile", str(checkpoint), "--target", "cpu", "--out", str(tmp_path))
    assert told.returncode == 1
    assert "holds no tokenizer.model" in told.stderr
