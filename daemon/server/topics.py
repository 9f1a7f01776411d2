"""Facts for those who subscribed: only what changed, only the newest of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from glmd.daemon.server.connection import Connection
from glmd.wire.replies import Event

GATHERING = 0.1  # seconds in which changes become one event

Facts = dict[str, Any]


class Subscription:
    """`id`: of the subscribe request. `told`: what the client knows of each topic."""

    def __init__(self, request_id: str, topics: Iterable[str]) -> None:
        self.id = request_id
        self.told: dict[str, Facts | None] = dict.fromkeys(topics)


class Topics:
    """`sources` gives the present facts of each topic."""

    def __init__(
        self,
        sources: Mapping[str, Callable[[], Facts]],
        connections: Callable[[], Iterable[Connection]],
    ) -> None:
        self._sources = sources
        self._connections = connections
        self._timer: asyncio.TimerHandle | None = None

    def changed(self) -> None:
        """Some fact may be different now."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHERING, self._tell_all)

    def tell(self, connection: Connection) -> None:
        """Send what the client does not know yet; what it cannot take now, it gets later, as it is
        then."""
        subscription = connection.subscription
        if subscription is None:
            return
        for topic, known in subscription.told.items():
            facts = self._sources[topic]()
            if facts != known and connection.offer(
                Event(id=subscription.id, topic=topic, data=facts)
            ):
                subscription.told[topic] = facts

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell_all(self) -> None:
        self._timer = None
        for connection in list(self._connections()):
            self.tell(connection)
