"""Tiny random models for pools."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import Shape, write_checkpoint


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, 320 tokens, a context of 2048."""
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), Shape(seq_length=2048), tokenizer=None)
