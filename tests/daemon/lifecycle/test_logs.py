"""The daemon's log: readable, and never larger than it may be."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest
from support.daemons import Homes

from glmd import paths
from glmd.daemon.lifecycle import logs


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)


def test_a_line_says_when_who_and_what(homes: Homes) -> None:
    logs.open_log("default", "info", also_stderr=False)
    logging.getLogger("glmd.test").info("It is %s.", "so")
    logging.getLogger("glmd.test").debug("not this")
    line = paths.log_file().read_text().strip()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    glmd.test: It is so\.", line)


def test_it_rotates(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 1000)
    logs.open_log("default", "info", also_stderr=False)
    for number in range(200):
        logging.getLogger("glmd.test").info("Line %d.", number)
    files = sorted(file.name for file in paths.data_dir().iterdir())
    assert files == ["glmd.log", "glmd.log.1", "glmd.log.2", "glmd.log.3"]
    assert all(file.stat().st_size <= 1000 for file in paths.data_dir().iterdir())
    assert "Line 199." in paths.log_file().read_text()
