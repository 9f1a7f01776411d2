"""Two models that give other answers, and the folders of a daemon."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.daemons import Homes
from support.models import WIDE, context_for_one_only, model


@pytest.fixture(scope="session")
def old_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("models") / "old", 1)


@pytest.fixture(scope="session")
def new_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("models") / "new", 2)


@pytest.fixture(scope="session")
def wide_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two of which only one fits into the memory."""
    shape = dataclasses.replace(WIDE, seq_length=context_for_one_only(4))
    folder = tmp_path_factory.mktemp("wide")
    return model(folder / "old", 1, shape), model(folder / "new", 2, shape)


@pytest.fixture(autouse=True)
def runtime(homes: Homes) -> Iterator[Path]:
    """Where links to models lie while they are needed; nothing may be left there."""
    folder = homes.runtime / "default"
    folder.mkdir(parents=True)
    yield folder
    assert list(folder.iterdir()) == []
