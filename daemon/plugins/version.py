"""One content of one plugin, as the core knows it: what requests pin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from glmd.daemon.plugins.messages import Checked, SamplerReport
from glmd.daemon.request.sampling import PluginSampler
from glmd.discovery import Source
from glmd.errors import Code, EngineFailed

# Hooks that the plugin host calls while the daemon runs.
HOSTED = frozenset({"glmd_daemon_started", "glmd_daemon_stopping", "glmd_model_changed"})


@dataclass(eq=False)
class Version:
    """`number` names it to the engine children. `quarantined`: why no request may use it any more,
    "" while they may. `retired`: a newer content has taken its place, or none; requests that pinned
    it go on with it. `trouble`: what its hooks last got wrong."""

    number: int
    source: Source
    report: Checked
    quarantined: str = ""
    retired: bool = False
    trouble: str = ""
    failures: list[float] = field(default_factory=list)  # when its requests failed, monotonic

    @property
    def name(self) -> str:
        return self.source.name

    def sampler(self, name: str) -> SamplerReport:
        return next(sampler for sampler in self.report.samplers if sampler.name == name)

    def error(self, what: str) -> EngineFailed:
        """For a request that this plugin has ended."""
        return EngineFailed(what, hint=self.advice, code=Code.PLUGIN_ERROR, plugin=self.name)

    @property
    def hosted(self) -> bool:
        """Whether it has to do in the plugin host."""
        return bool(self.report.tools or HOSTED.intersection(self.report.hooks))

    @property
    def advice(self) -> str:
        return f"`glmd plugins info {self.name}` says more; a saved change is loaded by itself."


@dataclass(frozen=True, kw_only=True)
class Offer(PluginSampler):
    """A sampler that a request may name. `schema`: JSON schema of its parameters."""

    version: Version
    replayable: bool
    schema: dict[str, Any]
    doc: str
