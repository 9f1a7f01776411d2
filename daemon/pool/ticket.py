"""A request in the pool: what was asked, what has been answered, who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from glmd.daemon.engine.messages import PromptLogprobs, Submit, Token
from glmd.daemon.pool.job import Job, Listener
from glmd.errors import DaemonError, GlmdError
from glmd.wire.replies import Phase

log = logging.getLogger(__name__)


class TicketOwner(Protocol):
    def cancel(self, ticket: Ticket, choice: int | None) -> None: ...


class Ticket:
    """What `Pool.submit` gives. `answers`: of every unfinished choice the tokens it has given,
    which is what another engine child needs to go on."""

    def __init__(self, id: int, job: Job, listener: Listener, owner: TicketOwner) -> None:
        self.id = id
        self.job = job
        self.answers: dict[int, list[int]] = {choice: [] for choice in range(job.n)}
        self._states: dict[int, list[bytes]] = {}  # of plugin stages, behind the last token
        self.started = 0.0  # when it left the queue, monotonic seconds
        self._listener = listener
        self._owner = owner
        self._prefilled = False
        self._scored = False
        self._replays = 0
        self._quiet = True
        self._done = 0

    @property
    def principal(self) -> str:
        return self.job.principal

    @property
    def quiet(self) -> bool:
        """No token has come from the child that has the request now."""
        return self._quiet

    def cancel(self, choice: int | None = None) -> None:
        """Stop the request, or one choice of it. The listener hears nothing more of that."""
        self._owner.cancel(self, choice)

    # -- for the pool ---------------------------------------------------------------------------

    def command(self) -> Submit:
        """The request as an engine child gets it, with the tokens that have been given."""
        job = self.job
        return Submit(
            id=self.id,
            prompt=job.prompt,
            choices=list(self.answers.items()),
            stages=job.stages,
            seed=job.seed,
            stop_ids=job.stop_ids,
            max_tokens=job.max_tokens,
            logprobs=job.logprobs,
            prompt_logprobs=job.prompt_logprobs and not self._scored,
            plugins={name: version.number for name, version in job.plugins.items()},
            states={c: self._states[c] for c in self.answers if c in self._states},
        )

    def drop(self, choice: int | None) -> bool:
        """Forget a choice, or all. Whether there was anything to forget."""
        if choice is None:
            had = bool(self.answers)
            self.answers.clear()
            return had
        return self.answers.pop(choice, None) is not None

    @property
    def begun(self) -> bool:
        """Whether any token has been given: from there on an answer must not be contradicted."""
        return any(self.answers.values()) or len(self.answers) < self.job.n

    def interrupted(self) -> None:
        """The child that had the request is gone; another one will replay it."""
        self._replays += 1
        self._quiet = True
        self._done = 0

    def prefilled(self, done: int, total: int, cached: int) -> None:
        self._done = done
        if done == total and not self._prefilled:
            self._prefilled = True
            self._tell(self._listener.prefilled, total, cached)

    def scored(self, event: PromptLogprobs) -> None:
        self._scored = True
        self._tell(self._listener.prompt_logprobs, event.items)

    def token(self, token: Token) -> None:
        tokens = self.answers.get(token.choice)
        if tokens is None:
            return  # cancelled while it was on its way
        self._quiet = False
        if token.finish:
            del self.answers[token.choice]
        else:
            tokens.append(token.token)
            if token.states:
                self._states[token.choice] = token.states
        self._tell(self._listener.token, token)

    def failed(self, error: GlmdError) -> None:
        self.answers.clear()
        self._tell(self._listener.failed, error)

    def waits(self, phase: Phase, done: int, total: int) -> None:
        self._tell(self._listener.progress, phase, done, total)

    def works(self) -> None:
        """Say how far it is, while it has a child and gives no tokens."""
        if not self._quiet:
            return
        prompt = len(self.job.prompt)
        if self._replays:
            forced = max(map(len, self.answers.values()), default=0)
            self._tell(self._listener.progress, "replaying", self._done, prompt + forced)
        else:
            self._tell(self._listener.progress, "prefill", self._done, prompt)

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        """A listener's fault ends its own request; the others in the same step go on."""
        try:
            call(*arguments)
        except Exception:
            log.exception("A listener failed on request %d.", self.id)
            self.cancel()
            if call != self._listener.failed:
                self.failed(
                    DaemonError(
                        "A fault inside the daemon ended this request.",
                        hint="The daemon's log says more.",
                    )
                )
