"""`glmd plugins bench`: what it says of a sampler is true of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.plugins import sampler, save


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMD_CONFIG", str(tmp_path / "config"))


def measured(**stage: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "glmd.daemon.engine.bench", json.dumps({"stage": stage})],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_what_a_stage_takes_the_others_wait() -> None:
    """One that sleeps 40 ms a token."""
    save(
        "slow",
        sampler(
            "slow",
            "print('not the answer')\ntime.sleep(self.params.by)",
            params="by: float = 0.04",
            before="import time",
            state="def accept(self, token):\n    time.sleep(0.01)",
        ),
    )
    cost = measured(name="slow", params={"by": 0.03})
    assert cost["vocab"] == 65024
    assert cost["token"] >= 40
    assert cost["slow_token"] >= cost["token"]
    assert cost["step_beside"] >= 40
    assert cost["step_beside"] > cost["step"] > 0
    assert cost["plugin"] == "slow"


def test_a_sampler_of_another_name_than_its_plugins_is_found() -> None:
    save("file", sampler("words"))
    save("broken", "this is no Python")
    cost = measured(name="words")
    assert (cost["sampler"], cost["plugin"]) == ("words", "file")
    assert cost["slow_token"] >= cost["token"] > 0


def test_an_answer_that_ends_is_begun_again() -> None:
    """Of two tokens each: a batch of which one answer ends early would say nothing."""
    assert measured(name="choices", params={"of": ["a"]})["step_beside"] > 0


@pytest.mark.parametrize(
    ("source", "stage", "sentence"),
    [
        ("", {"name": "nobody"}, "No plugin has a sampler 'nobody'."),
        ("raise SystemExit(3)", {"name": "bad"}, "The plugin bad cannot be loaded: SystemExit: 3."),
        (sampler("bad", "1 / 0"), {"name": "bad"}, "failed at token 0: ZeroDivisionError"),
        (
            sampler("bad", params="by: float"),
            {"name": "bad", "params": {"by": "x"}},
            "The field by: expected float, got str; by is 'x'.",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(source: str, stage: dict[str, Any], sentence: str) -> None:
    save("bad", source)
    assert sentence in measured(**stage)["error"]
