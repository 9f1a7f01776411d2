"""What was fixed when a bmodel was compiled cannot be asked for otherwise, and is refused before a
chip, or the model that serves, is touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.bmodel_files import write_bmodel
from support.bmodel_nets import Glm
from support.checkpoints import NANO

from glmd.daemon.models.plan import make_plan
from glmd.errors import ModelError
from glmd.settings import DaemonSettings


@pytest.fixture
def bmodel(tmp_path: Path) -> Path:
    """For 64 tokens, in int8."""
    shutil.copy(NANO / "tokenizer.model", tmp_path)
    return write_bmodel(tmp_path / "glm.bmodel", Glm(mode="int8").nets())


def plan(bmodel: Path, **said: Any) -> dict[str, Any]:
    """What reaches the pool."""
    made = make_plan(DaemonSettings(model=str(bmodel), devices=[0], **said))
    made.pin.close()
    return {name: getattr(made.spec, name) for name in said}


def test_what_it_can_give(bmodel: Path) -> None:
    for said in ({"mode": "int8"}, {"context": 64}, {"context": 7}, {"threads": 0}):
        assert plan(bmodel, **said) == said


@pytest.mark.parametrize(
    ("said", "sentence", "hint"),
    [
        ({"mode": "int4"}, "compiled as int8 and cannot be loaded as int4", "--mode"),
        ({"context": 65}, "compiled for 64 tokens and cannot have a context of 65", "--seq-length"),
        ({"threads": 2}, "runs on chips, and --threads 2 is for the CPU backend", "config.toml"),
    ],
)
def test_what_it_cannot(bmodel: Path, said: dict[str, Any], sentence: str, hint: str) -> None:
    with pytest.raises(ModelError, match=sentence) as caught:
        plan(bmodel, **said)
    assert str(bmodel) in caught.value.message
    assert hint in caught.value.hint


def test_a_mode_that_cannot_be_told(bmodel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glmd.bmodel.features.guess", lambda weights, layouts: None)
    assert plan(bmodel, context=8) == {"context": 8}
    with pytest.raises(ModelError, match="does not tell how it was compiled"):
        plan(bmodel, mode="int8")
