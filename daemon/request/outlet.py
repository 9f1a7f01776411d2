"""Where a request's answers go. The server implements it; the request never sees a socket."""

from __future__ import annotations

from typing import Protocol

from glmd.errors import GlmdError
from glmd.wire.replies import (
    Call,
    Ending,
    Phase,
    Text,
    Timings,
    TokenLogprob,
    ToolResult,
    Usage,
)


class Outlet(Protocol):
    """Called on the event loop. First `accepted`, last exactly one `done` or `failed`. None of the
    calls waits: a slow reader's text is gathered behind it."""

    def accepted(
        self,
        *,
        prompt_tokens: int,
        seed: int,
        dropped: int = 0,
        session: str | None = None,
        message: str | None = None,
    ) -> None: ...

    def progress(self, phase: Phase, done: int, total: int) -> None: ...

    def delta(self, content: Text | Call | ToolResult, choice: int = 0) -> None: ...

    def done(
        self,
        *,
        endings: list[Ending],
        usage: Usage,
        timings: Timings,
        prompt_logprobs: list[TokenLogprob],
    ) -> None: ...

    def failed(self, error: GlmdError) -> None: ...
