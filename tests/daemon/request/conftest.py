"""A random model that speaks the shipped model's vocabulary, and sessions for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.checkpoints import NANO, Shape, write_checkpoint

from glmd.daemon.sessions.store import SessionStore


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, a context of 256."""
    folder = tmp_path_factory.mktemp("text")
    return write_checkpoint(folder, Shape(vocab=2304, seq_length=256), tokenizer=NANO)


@pytest_asyncio.fixture(loop_scope="module")
async def sessions(tmp_path: Path) -> AsyncIterator[SessionStore]:
    store = SessionStore(tmp_path / "sessions.db")
    yield store
    await store.close()
