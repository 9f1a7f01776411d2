"""The contract of a tool that the daemon runs itself, in the plugin-host child."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec


@runtime_checkable
class RunnableTool(Protocol):
    """`Params` gives the schema shown to the model and validates its arguments."""

    name: ClassVar[str]
    description: ClassVar[str]
    Params: ClassVar[type[msgspec.Struct]]
    timeout: ClassVar[float] = 30.0  # seconds

    def run(self, params: Any) -> str:
        """The text of the observation. Raising gives the model the message instead."""
