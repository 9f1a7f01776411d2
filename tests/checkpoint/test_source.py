"""What a person may name as a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmd.checkpoint.source import MANIFEST, located
from glmd.errors import ModelError


def test_the_folder_of_a_compile_stands_for_the_model_in_it(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"file": {"name": "a_int4_1dev.bmodel", "nbytes": 1}}')
    assert located(tmp_path) == tmp_path / "a_int4_1dev.bmodel"


def test_any_other_path_is_what_it_is(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "a.bmodel"):
        assert located(path) == path


@pytest.mark.parametrize("text", ["", "{}", '{"file": {"name": 3}}', "\xff"])
def test_a_manifest_that_says_nothing_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="does not say which file is the model"):
        located(tmp_path)
