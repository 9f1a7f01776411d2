"""The pytest plugin: fixtures that are there wherever glmd is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from glmd.testing.daemon import Homes


@pytest.fixture
def glmd_daemon() -> Iterator[Homes]:
    """A daemon on the shipped model: `.plugins` is the folder for plugin files, `.client` starts it
    and talks to it, `.start(**settings)` starts it otherwise. Stopped when the test ends."""
    from glmd.testing.daemon import Homes

    with pytest.MonkeyPatch.context() as monkeypatch:
        homes = Homes(monkeypatch.setenv)
        try:
            yield homes
        finally:
            homes.close()
