"""What one check found."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """`next`: what to do about it, "" where there is nothing to do."""

    check: str
    state: State
    found: str
    next: str = ""
