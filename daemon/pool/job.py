"""A request as the pool sees it: token ids in, token events out."""

from __future__ import annotations

from typing import Protocol

import msgspec

from glmd.daemon.engine.messages import Logprob, Token
from glmd.errors import GlmdError
from glmd.wire.replies import Phase
from glmd.wire.sampling import Stage


class Job(msgspec.Struct, frozen=True):
    """`principal` is whom fairness counts; `affinity` (a session, mostly) says which requests share
    a prefix and are best kept on one replica."""

    prompt: list[int]
    stages: list[Stage]
    seed: int
    stop_ids: list[int]
    max_tokens: int
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: bool = False
    principal: str = "local"
    affinity: str = ""


class Listener(Protocol):
    """Called on the event loop, in order; exactly one of `ended` for every choice or `failed`."""

    def progress(self, phase: Phase, done: int, total: int) -> None: ...

    def prefilled(self, total: int, cached: int) -> None:
        """The prompt is in the KV cache."""

    def prompt_logprobs(self, items: list[Logprob]) -> None: ...

    def token(self, token: Token) -> None:
        """A token of a choice; with `finish` set it is that choice's last."""

    def failed(self, error: GlmdError) -> None: ...
