from __future__ import annotations

import msgspec
import pytest
from glmd_dice import Dice


def test_dice_show_what_they_can():
    dice = Dice()
    shown = dice.run(Dice.Params(sides=3, count=100)).split(", ")
    assert len(shown) == 100
    assert set(shown) == {"1", "2", "3"}


def test_dice_that_there_are_not_are_refused():
    with pytest.raises(msgspec.ValidationError, match="sides"):
        msgspec.convert({"sides": 1}, Dice.Params)
