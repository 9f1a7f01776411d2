"""A small checkpoint, and the bmodel that is compiled from it once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import write_checkpoint
from support.compiling import TOY, glmd_compile, seed_words


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("toy") / "checkpoint", TOY)


@pytest.fixture(scope="session")
def toy_model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Needs export and tpu_mlir."""
    told = glmd_compile(*seed_words(toy, tmp_path_factory.mktemp("compiled")))
    assert told.returncode == 0, told.stderr
    return Path(told.stdout.strip())
