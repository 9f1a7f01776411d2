"""What a request needs of the pool. `glmd.daemon.pool.pool.Pool` is the one there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glmd.daemon.pool.job import Job, Listener
from glmd.errors import GlmdError


class Model(Protocol):
    """What has been loaded. `context`: positions a sequence may have; `vocab`: length of a logits
    row; `outputs`: of token, candidates, logits."""

    @property
    def context(self) -> int: ...

    @property
    def vocab(self) -> int: ...

    @property
    def outputs(self) -> Sequence[str]: ...


class Ticket(Protocol):
    @property
    def started(self) -> float:
        """When a replica took the request (time.monotonic); 0.0 while it waits."""

    def cancel(self, choice: int | None = None) -> None:
        """Stop the request, or one choice of it. The listener hears nothing more of that."""


class Pool(Protocol):
    @property
    def model(self) -> Model | None:
        """None until the first replica has loaded it."""

    @property
    def loading(self) -> tuple[int, int]:
        """Bytes of weights that have been read, and have to be."""

    def failure(self) -> GlmdError | None:
        """Why no model serves or ever will; None while one does or may yet."""

    def submit(self, job: Job, listener: Listener) -> Ticket:
        """Take a request; `listener` is first called after this has returned. Raises Busy and
        other GlmdErrors when it is refused."""
