"""A random model that speaks the shipped model's vocabulary, and sessions for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.checkpoints import NANO, Shape, write_checkpoint
from support.requests import Make, ScriptedClient

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


@pytest.fixture
async def make(sessions: SessionStore) -> AsyncIterator[Make]:
    """Makes clients of scripted pools; in the end nothing may play on, and no listener have raised
    anything."""
    clients: list[ScriptedClient] = []

    def make(*scripts: Sequence[int], **model: Any) -> ScriptedClient:
        clients.append(ScriptedClient(sessions, *scripts, **model))
        return clients[-1]

    yield make
    for client in clients:
        client.pool.gate.set()
        await client.pool.over()
