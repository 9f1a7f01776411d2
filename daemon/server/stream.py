"""The answers to one generation on their way to its client.

A delta becomes a message only when the client has credit for it: until then text is gathered, so a
slow reader gets fewer and larger deltas and the engine never waits. What has become a message keeps
its number. A detached stream also keeps the messages it sent, for whoever attaches to it.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

import msgspec

from glmd.daemon.server.connection import Connection
from glmd.daemon.server.gather import Content, Gathered, weight
from glmd.errors import Code, DaemonError, GlmdError, InvalidRequest
from glmd.wire.replies import (
    Accepted,
    Delta,
    Done,
    Ending,
    Failure,
    Phase,
    Progress,
    Timings,
    TokenLogprob,
    Usage,
)

CREDIT_TIMEOUT = 30.0  # seconds a reader may leave deltas waiting
DETACHED_TTL = 300.0  # seconds a detached stream is kept after its end
GATHERED_BYTES = 1 << 20  # that may wait for a reader
KEPT_BYTES = 4 << 20  # of a detached stream
PROGRESS_INTERVAL = 0.1  # seconds between messages of the same phase


class Running(Protocol):
    def cancel(self) -> None:
        """Its outlet hears `done` with finish_reason "cancelled"."""


def failure(request_id: str, error: GlmdError) -> Failure:
    return Failure(
        id=request_id,
        code=error.wire_code,
        message=error.message,
        hint=error.hint,
        retry_after_ms=error.retry_after_ms,
        plugin=error.plugin,
    )


class Stream:
    """The Outlet of one request.

    `name`: the id it was opened under, by which its owner finds it again; `id`: the one under which
    the present reader gets it. `ended`: when the request was over, on the monotonic clock; its
    reader may have something to read still.
    """

    def __init__(
        self,
        name: str,
        principal: str,
        connection: Connection,
        credit: int,
        *,
        detached: bool,
    ) -> None:
        self.name = name
        self.principal = principal
        self.detached = detached
        self.ended: float | None = None
        self._running: Running | None = None
        self.id = name
        self.reader: Connection | None = connection
        connection.streams[name] = self
        self._credit = credit
        self._opening: Accepted | None = None
        self._ending: Done | Failure | None = None
        self._cancelled = False
        self._waiting = Gathered()
        self._kept: deque[Delta] = deque()
        self._kept_bytes = 0
        self._made = 0  # deltas that have a number
        self._next = 0  # the number the reader gets next
        self._blocked_since: float | None = None
        self._progress: tuple[Phase, float] | None = None

    @property
    def size(self) -> int:
        """Bytes held, about."""
        return self._kept_bytes + self._waiting.size

    @property
    def worth_keeping(self) -> bool:
        """It was accepted, so there is something to attach to."""
        return self._opening is not None

    def runs(self, running: Running) -> None:
        self._running = running

    # -- Outlet: from the request ---------------------------------------------------------------

    def accepted(
        self,
        *,
        prompt_tokens: int,
        seed: int,
        dropped: int = 0,
        session: str | None = None,
        message: str | None = None,
    ) -> None:
        self._opening = Accepted(
            id=self.id,
            prompt_tokens=prompt_tokens,
            seed=seed,
            dropped=dropped,
            session=session,
            message=message,
        )
        if self.reader is not None:
            self.reader.served = True
            self.reader.send(self._opening)

    def progress(self, phase: Phase, done: int, total: int) -> None:
        now = time.monotonic()
        if self._progress is not None:
            last, at = self._progress
            if last == phase and now - at < PROGRESS_INTERVAL:
                return
        self._progress = (phase, now)
        if self.reader is not None:
            self.reader.offer(Progress(id=self.id, phase=phase, done=done, total=total))

    def delta(self, content: Content, choice: int = 0) -> None:
        if self._ending is not None or not (self.detached or self.reader):
            return
        self._waiting.add(choice, content)
        self.flush()
        if self._cancelled:
            self._waiting.clear()
        self._bound()

    def done(
        self,
        *,
        endings: list[Ending],
        usage: Usage,
        timings: Timings,
        prompt_logprobs: list[TokenLogprob],
    ) -> None:
        self._end(
            Done(
                id=self.id,
                seq=0,
                endings=endings,
                usage=usage,
                timings=timings,
                prompt_logprobs=prompt_logprobs,
            )
        )

    def failed(self, error: GlmdError) -> None:
        self._end(failure(self.id, error))

    # -- from the client ------------------------------------------------------------------------

    def grant(self, credit: int) -> None:
        self._credit = min(self._credit + credit, 1 << 16)
        self.flush()

    def cancel(self) -> None:
        """End it soon: what waits for credit is not wanted any more."""
        self._cancelled = True
        self._waiting.clear()
        if self._running is not None and self._ending is None:
            self._running.cancel()
        self.flush()

    def attach(self, connection: Connection, request_id: str, from_seq: int, credit: int) -> None:
        """Go on at delta `from_seq` with another reader; the present one is told. Raises
        InvalidRequest or DaemonError (expired)."""
        oldest = self._made - len(self._kept)
        if from_seq > self._made:
            raise InvalidRequest(f"Request {self.name} has only {self._made} deltas so far.")
        if from_seq < oldest:
            raise DaemonError(
                f"The deltas of request {self.name} before {oldest} are not kept any more.",
                code=Code.EXPIRED,
            )
        self.detach(
            DaemonError(
                f"Request {self.name} was taken up by another attach.", code=Code.TAKEN_OVER
            )
        )
        self.reader, self.id = connection, request_id
        connection.streams[request_id] = self
        self._next, self._credit = from_seq, credit
        self._cancelled = False  # this reader has not said that it wants no more
        if self._opening is not None:
            connection.send(msgspec.structs.replace(self._opening, id=request_id))
        self.flush()

    def detach(self, reason: GlmdError | None = None) -> None:
        """Let go of the reader; with `reason`, it is told why. A request that is not detached is
        nobody's then, and ends."""
        reader, self.reader = self.reader, None
        self._blocked_since = None
        if reader is not None:
            reader.streams.pop(self.id, None)
            if reason is not None:
                reader.send(failure(self.id, reason))
        if not self.detached:
            self.cancel()
            self._forget()

    def abandon(self, error: GlmdError) -> None:
        """End the request from this side: nobody reads it, or nobody may any more."""
        running = self._running if self._ending is None else None
        self._forget()
        self._ending = None
        self.failed(error)
        if running is not None:
            running.cancel()

    # -- on the way -----------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what the reader can take."""
        reader = self.reader
        if reader is None:
            return
        while self._next < self._made or self._waiting:
            if self._credit == 0 and self._cancelled:
                break  # what was numbered before is there for another attach
            if self._credit == 0 or not self._send_next(reader):
                if self._blocked_since is None:
                    self._blocked_since = time.monotonic()
                return
            self._blocked_since = None
        if self._ending is not None:
            self._finish(reader, self._ending)

    def check(self, now: float) -> None:
        """Called about once a second: has the reader been away for too long?"""
        if self._blocked_since is not None and now - self._blocked_since >= CREDIT_TIMEOUT:
            self._give_up_reader()

    def _send_next(self, reader: Connection) -> bool:
        if self._next == self._made:
            choice, content = self._waiting.take()
            self._kept.append(Delta(id=self.name, seq=self._made, content=content, choice=choice))
            self._kept_bytes += weight(content)
            self._made += 1
        delta = self._kept[self._next - (self._made - len(self._kept))]
        if self.id != delta.id:
            delta = msgspec.structs.replace(delta, id=self.id)
        if not reader.offer(delta):
            return False
        self._next += 1
        self._credit -= 1
        if not self.detached:
            self._forget_oldest()
        return True

    def _bound(self) -> None:
        """Keep what is held within bounds: first old messages go, then the reader."""
        limit = KEPT_BYTES if self.detached else GATHERED_BYTES
        while self.size > limit and self._made - len(self._kept) < self._next:
            self._forget_oldest()
        if self.size > limit:
            why = f"More than {limit >> 20} MiB were waiting to be read."
            self.abandon(DaemonError(why, code=Code.SLOW_CLIENT))

    def _give_up_reader(self) -> None:
        why = f"No credit came for {CREDIT_TIMEOUT:.0f} seconds."
        if self.detached:
            hint = f"Take it up again with attach, target {self.name}."
            self.detach(DaemonError(why, code=Code.SLOW_CLIENT, hint=hint))
        else:
            self.abandon(DaemonError(why, code=Code.SLOW_CLIENT))

    def _forget(self) -> None:
        self._waiting.clear()
        self._kept.clear()
        self._kept_bytes = 0
        self._next = self._made

    def _forget_oldest(self) -> None:
        self._kept_bytes -= weight(self._kept.popleft().content)

    def _end(self, ending: Done | Failure) -> None:
        if self._ending is None:
            self._ending = ending
            self.ended = time.monotonic()
            self.flush()

    def _finish(self, reader: Connection, ending: Done | Failure) -> None:
        changes: dict[str, object] = {"id": self.id}
        if isinstance(ending, Done):
            changes["seq"] = self._next
        self.reader = None
        reader.streams.pop(self.id, None)
        reader.send(msgspec.structs.replace(ending, **changes))
