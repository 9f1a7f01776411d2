"""Which chains the device's penalty head takes over, and what it is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from glmd.daemon.engine.penalty_head import PenaltyHead, penalty_head
from glmd.daemon.request.sampling import resolve
from glmd.wire.sampling import Sampling, Stage


def preset(**fields: Any) -> list[Stage]:
    """What the core makes of the preset."""
    sampling = Sampling(preset="penalty_sample", **fields)
    return resolve(sampling, ["token", "candidates", "logits"], vocab=100, breakers=[]).stages


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ({}, PenaltyHead(1.0, 1.0, 1.0, 0)),
        (
            {"temperature": 0.5, "top_p": 0.8, "repeat_penalty": 1.2},
            PenaltyHead(0.5, 0.8, 1.2, 32),
        ),
        ({"repeat_penalty": 1.2, "repeat_last_n": -1}, PenaltyHead(1.0, 1.0, 1.2, -1)),
    ],
)
def test_the_preset_is_the_heads(fields: dict[str, Any], head: PenaltyHead) -> None:
    assert penalty_head(preset(**fields)) == head


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [Stage("temperature", {"temperature": 0.5})],
        preset(logit_bias={3: 1.0}),
        preset(temperature=0.0),
        list(reversed(preset(repeat_penalty=1.2))),
        [*preset(), Stage("min_p", {"p": 0.1})],
        [*preset(), Stage("mine", {})],
        [Stage("top_k", {"k": 40}), *preset()[1:]],
        [preset()[0], Stage("top_p", {"p": 0.9})],
        [Stage("penalties", {"repeat": 1.2, "presence": 0.1}), *preset()],
    ],
)
def test_other_chains_are_not(stages: list[Stage]) -> None:
    assert penalty_head(stages) is None


@pytest.mark.parametrize(
    ("last_n", "counted"), [(-1, [1, 2, 3, 4]), (0, []), (2, [3, 4]), (9, [1, 2, 3, 4])]
)
def test_the_last_ids_are_the_history(last_n: int, counted: list[int]) -> None:
    head = PenaltyHead(0.5, 0.25, 1.5, last_n)
    settings = head.settings(np.arange(1, 5, dtype=np.int32))
    assert (settings.temperature, settings.top_p, settings.penalty) == (0.5, 0.25, 1.5)
    assert settings.history.tolist() == counted
