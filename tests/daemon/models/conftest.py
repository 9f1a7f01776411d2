"""Two models that give other answers, and the folders of a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemons import Homes
from support.models import model


@pytest.fixture(scope="session")
def old_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("models") / "old", 1)


@pytest.fixture(scope="session")
def new_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("models") / "new", 2)


@pytest.fixture(autouse=True)
def runtime(homes: Homes) -> Iterator[Path]:
    """Where links to models lie while they are needed; nothing may be left there."""
    folder = homes.runtime / "default"
    folder.mkdir(parents=True)
    yield folder
    assert list(folder.iterdir()) == []
