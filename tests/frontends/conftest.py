"""What the tests of frontends share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.faces import Faces


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Faces]:
    """`connect(…)` makes a Client, or an AsyncClient that can be used like one."""
    faces = Faces(request.param)
    yield faces
    faces.close()
