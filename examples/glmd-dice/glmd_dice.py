"""A tool that rolls dice."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated

import msgspec

import glmd
from glmd.tool import RunnableTool


class Dice(RunnableTool):
    name = "roll_dice"
    description = "Rolls dice and says what they show."

    class Params(msgspec.Struct, frozen=True):
        """`count` dice with `sides` sides each."""

        sides: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 6
        count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1

    def run(self, params: Params) -> str:
        return ", ".join(str(secrets.randbelow(params.sides) + 1) for _ in range(params.count))


@glmd.hookimpl
def glmd_register_tools(register: Callable[[RunnableTool], None]) -> None:
    register(Dice())
