"""What is known of each plugin, and the snapshot of samplers that requests are resolved against."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from glmd.daemon.engine.stages import BUILTIN
from glmd.daemon.plugins.messages import Checked, SamplerReport
from glmd.daemon.plugins.schema import checker
from glmd.daemon.plugins.version import Offer, Version
from glmd.discovery import Source
from glmd.wire.replies import PluginInfo

State = Literal["loaded", "failed", "blocked", "quarantined"]

Snapshot = Mapping[str, Offer]

OUTRUN = "It was installed while the daemon ran; `glmd restart` loads it."


@dataclass
class Record:
    """One plugin. `source`: as it was last found. `version`: what serves, None while nothing does.
    `error`: what is wrong with `source`. `again`: look it over although it is the same."""

    source: Source
    version: Version | None = None
    error: str = ""
    again: bool = False

    @property
    def state(self) -> State:
        if self.source.problem:
            return "blocked"
        if self.version is None:
            return "failed"
        return "quarantined" if self.version.quarantined else "loaded"

    @property
    def tried(self) -> bool:
        """Whether this source was looked over, for good or ill."""
        if self.again:
            return False
        known = self.version is not None and self.version.source.content == self.source.content
        return known or bool(self.error)

    @property
    def outrun(self) -> bool:
        """Whether a package was exchanged under the daemon. Modules of the old one are in use in
        its children, and Python has no way to exchange those."""
        return (
            self.version is not None
            and self.source.origin != "file"
            and self.version.source.content != self.source.content
        )

    def info(self) -> PluginInfo:
        version = self.version
        serving = version.source if version else self.source
        report = version.report if version else Checked()
        return PluginInfo(
            name=self.source.name,
            state=self.state,
            origin=self.source.origin,
            path=self.source.path,
            version=report.version or self.source.version,
            sha256=serving.sha256,
            hooks=report.hooks,
            samplers=[sampler.name for sampler in report.samplers],
            tools=[tool.name for tool in report.tools],
            load_ms=round(1000 * report.seconds, 3),
            error=self._wrong(),
        )

    def _wrong(self) -> str:
        if self.source.problem:
            return self.source.problem
        if self.version is None:
            return self.error
        if not self.error:
            return self.version.quarantined or self.version.trouble
        return f"The newer version is not used: {self.error} The one before it goes on."


class Registry:
    """All records, in the order in which plugins load. `retire` is called with each version that
    serves no new requests any more."""

    def __init__(self, retire: Callable[[Version], None]) -> None:
        self._retire = retire
        self._records: dict[str, Record] = {}
        self._numbers = itertools.count(1)
        self.snapshot: Snapshot = MappingProxyType({})

    def records(self) -> Iterator[Record]:
        yield from self._records.values()

    def record(self, name: str) -> Record | None:
        return self._records.get(name)

    def found(self, sources: list[Source]) -> list[Record]:
        """Take in what was found; the records that have to be looked over."""
        before, self._records = self._records, {}
        for source in sources:
            record = before.pop(source.name, None) or Record(source)
            if record.source.content != source.content or record.source.problem != source.problem:
                record.error = ""
            record.source = source
            if record.outrun:
                record.error, record.again = OUTRUN, False
            if source.problem:
                self._drop(record)
            self._records[source.name] = record
        for record in before.values():
            self._drop(record)
        self._renew()
        return [r for r in self._records.values() if not r.source.problem and not r.tried]

    def checked(self, record: Record, report: Checked) -> Version | None:
        """A plugin was looked over: the version that can serve, None when it cannot."""
        record.again = False
        record.error = report.error or self._clash(record, report)
        if record.error:
            return None
        return Version(next(self._numbers), record.source, report)

    def serve(self, record: Record, version: Version) -> None:
        """The version serves from now on, and the one before it no more."""
        self._drop(record)
        record.version = version
        self._renew()

    def quarantine(self, version: Version, why: str) -> None:
        version.quarantined = why
        self._renew()

    def _drop(self, record: Record) -> None:
        if record.version is not None:
            record.version.retired = True
            self._retire(record.version)
            record.version = None

    def _clash(self, record: Record, report: Checked) -> str:
        for sampler in report.samplers:
            if sampler.name in BUILTIN:
                return f"The sampler name {sampler.name!r} is that of a built-in stage."
            owner = self.snapshot.get(sampler.name)
            if owner is not None and owner.version.name != record.source.name:
                return f"The sampler name {sampler.name!r} belongs to {owner.version.name}."
        return ""

    def _renew(self) -> None:
        """A new snapshot takes the old one's place; who holds the old one keeps it."""
        self.snapshot = MappingProxyType(
            {
                sampler.name: _offer(record.version, sampler)
                for record in self._records.values()
                if record.version is not None
                for sampler in record.version.report.samplers
            }
        )


def _offer(version: Version, sampler: SamplerReport) -> Offer:
    check = checker(sampler.name, sampler.params, version.name)

    def guarded(params: dict[str, Any]) -> None:
        if version.quarantined:
            raise version.error(
                f"The sampler {sampler.name!r} is quarantined. {version.quarantined}"
            )
        check(params)

    return Offer(
        check=guarded,
        place=sampler.place,
        replaces=frozenset(sampler.replaces),
        version=version,
        replayable=sampler.replayable,
        schema=sampler.params,
        doc=sampler.doc,
    )
