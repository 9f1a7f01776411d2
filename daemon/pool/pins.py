"""The plugins of one engine child: given before it needs them, taken back when nobody does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glmd.daemon.engine.messages import AnyEvent, Forget, Import, Vocabulary
from glmd.daemon.plugins.breadcrumb import Breadcrumb
from glmd.daemon.plugins.version import Version
from glmd.daemon.pool.child import Child


class Pins:
    """`page`: where the child writes down whose code it is in."""

    def __init__(self, vocabulary: Sequence[bytes]) -> None:
        """Raises OSError."""
        self.page = Breadcrumb.create()
        self._vocabulary = vocabulary
        self._given: dict[int, Version] = {}

    def give(self, child: Child[AnyEvent], versions: Iterable[Version]) -> None:
        """Have the child import those that it does not have yet."""
        for version in versions:
            if version.number in self._given:
                continue
            if not self._given:
                child.send(Vocabulary(list(self._vocabulary)))
            child.send(Import(version.number, version.source))
            self._given[version.number] = version

    def take_back(self, child: Child[AnyEvent], needed: Iterable[Version]) -> None:
        """Have the child forget those that serve no new requests and that none of its own needs."""
        kept = {version.number for version in needed}
        for number, version in list(self._given.items()):
            if number not in kept and (version.retired or version.quarantined):
                child.send(Forget(number))
                del self._given[number]

    def culprit(self) -> Version | None:
        """The plugin in whose code the child died, or is."""
        inside = self.page.inside()
        return self._given.get(inside.number) if inside else None

    def stuck(self, seconds: float) -> Version | None:
        """The plugin that has not come back for this long."""
        inside = self.page.inside()
        return self.culprit() if inside and inside.seconds > seconds else None
