"""A whole daemon and real clients; what the parts do is tested in the parts' own folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import Shape, write_checkpoint

# Big enough that an engine is not done with everything before a kill reaches it.
SHAPE = Shape(layers=2, hidden=256, heads=8, head_dim=32, ffn=512, vocab=2304, seq_length=1024)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights behind the shipped tokenizer: whatever it says, it says again."""
    return write_checkpoint(tmp_path_factory.mktemp("model") / "random", SHAPE)
