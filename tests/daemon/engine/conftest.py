"""A tiny random model, and an engine child that serves it to a whole test file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkpoints import Shape, write_checkpoint
from support.engine import EngineChild, engine_child


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, 320 tokens, a context of 2048."""
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), Shape(seq_length=2048), tokenizer=None)


@pytest.fixture(scope="module")
def shared_child(tiny_model: Path) -> Iterator[EngineChild]:
    with engine_child(tiny_model, slots=8) as child:
        child.ready()
        yield child


@pytest.fixture
def child(shared_child: EngineChild) -> EngineChild:
    """Loaded and idle, with whatever the tests before have left in its KV cache."""
    shared_child.events.clear()
    return shared_child


@pytest.fixture
def fresh(tiny_model: Path) -> Iterator[EngineChild]:
    """With an empty KV cache."""
    with engine_child(tiny_model, slots=4) as child:
        child.ready()
        yield child
