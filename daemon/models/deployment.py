"""A model that serves, as requests hold on to it: its tokenizer and its replicas are one thing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from glmd.daemon.request.pool import Model, Pool
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import DaemonError


class Deployment:
    """A request that was prepared with this tokenizer runs on this pool, from its prompt to its
    last token, whatever serves by then: `held` keeps it from being unloaded."""

    def __init__(self, tokenizer: Tokenizer, pool: Pool) -> None:
        self.tokenizer = tokenizer
        self.pool = pool
        self._holders = 0
        self._unheld = asyncio.Event()
        self._unheld.set()

    @property
    def model(self) -> Model:
        """What has been loaded. Raises why nothing has."""
        model = self.pool.model
        if model is None:
            raise self.pool.failure() or DaemonError("The model is not loaded yet.")
        return model

    def hold(self) -> None:
        self._holders += 1
        self._unheld.clear()

    def let_go(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._unheld.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        self.hold()
        try:
            yield
        finally:
            self.let_go()

    async def unheld(self) -> None:
        """Wait until no request holds on to it."""
        await self._unheld.wait()
