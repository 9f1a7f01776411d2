"""A request as the pool sees it: token ids in, token events out."""

from __future__ import annotations

from typing import Protocol

import msgspec

from glmd.daemon.engine.messages import Logprob, Token
from glmd.daemon.plugins.version import Version
from glmd.errors import GlmdError
from glmd.wire.replies import Phase
from glmd.wire.sampling import Stage


class Job(msgspec.Struct, frozen=True):
    """`principal` is whom fairness counts; `affinity` (a session, mostly) says which requests share
    a prefix and are best kept on one replica. `plugins`: for each stage that is a plugin's sampler
    the version that was there when the request came."""

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
    plugins: dict[str, Version] = {}

    @property
    def lost(self) -> GlmdError | None:
        """Why a plugin that it needs is not to be had any more."""
        for name, version in self.plugins.items():
            if version.quarantined:
                return version.error(f"The sampler {name!r} is quarantined. {version.quarantined}")
        return None

    @property
    def unrepeatable(self) -> Version | None:
        """The plugin with which an answer cannot be taken up again."""
        for name, version in self.plugins.items():
            if not version.sampler(name).replayable:
                return version
        return None


class Listener(Protocol):
    """Called on the event loop, in order; exactly one of `ended` for every choice or `failed`."""

    def progress(self, phase: Phase, done: int, total: int) -> None: ...

    def prefilled(self, total: int, cached: int) -> None:
        """The prompt is in the KV cache."""

    def prompt_logprobs(self, items: list[Logprob]) -> None: ...

    def token(self, token: Token) -> None:
        """A token of a choice; with `finish` set it is that choice's last."""

    def failed(self, error: GlmdError) -> None: ...
