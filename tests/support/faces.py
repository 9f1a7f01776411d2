"""The sync and the async client behind one face, so that one suite holds both to the same contract.

`Blocking` runs what is awaited on an event loop of its own, in the test's thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from glmd.frontends.python_api import (
    AsyncClient,
    AsyncSessions,
    AsyncStream,
    AsyncSubscription,
    Client,
)

_ASYNC = (AsyncClient, AsyncSessions, AsyncStream, AsyncSubscription)


class Blocking:
    """An object of the async client, used like its sync twin."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return self._wrap(value)

        def call(*args: Any, **options: Any) -> Any:
            return self._run(lambda: value(*args, **options))

        return call

    def __enter__(self) -> Blocking:
        self._run(self._target.__aenter__)
        return self

    def __exit__(self, *exc: object) -> None:
        self._run(lambda: self._target.__aexit__(*exc))

    def __iter__(self) -> Iterator[Any]:
        items = self._target.__aiter__()
        try:
            while True:
                try:
                    yield self._run(items.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            # A generator may also be collected in the middle of something else.
            if not (self._loop.is_closed() or self._loop.is_running()):
                self._run(items.aclose)

    def _run(self, function: Callable[[], Any]) -> Any:
        async def awaited() -> Any:
            value = function()
            return await value if inspect.isawaitable(value) else value

        return self._wrap(self._loop.run_until_complete(awaited()))

    def _wrap(self, value: Any) -> Any:
        return Blocking(value, self._loop) if isinstance(value, _ASYNC) else value


class Faces:
    """Makes clients of one kind, and closes them at the end of the test."""

    def __init__(self, kind: str) -> None:
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        self._made: list[Any] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._loop is None:
            client: Any = Client(*args, **options)
        else:
            client = Blocking(AsyncClient(*args, **options), self._loop)
        self._made.append(client)
        return client

    def close(self) -> None:
        for client in self._made:
            client.close()
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
