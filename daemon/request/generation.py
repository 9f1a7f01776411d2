"""The answers to one request while the pool makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from glmd.chat import Message
from glmd.daemon.engine.messages import Logprob, Token
from glmd.daemon.request.choice import Choice, Content
from glmd.daemon.request.logprobs import token_logprob
from glmd.daemon.request.outlet import Outlet
from glmd.daemon.request.pool import Ticket
from glmd.daemon.request.stopwatch import Stopwatch
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import GlmdError
from glmd.wire.replies import Ending, FinishReason, Phase, Timings, TokenLogprob, Usage


class Generation:
    """Listens to the pool and writes to the outlet, all but the last word.

    `ended` is set when every choice has ended, or when `error` says why they cannot. The ticket is
    given by `start`; before that only `failed` may be called.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        choices: Sequence[Choice],
        outlet: Outlet,
        stopwatch: Stopwatch,
    ) -> None:
        self.ended = asyncio.Event()
        self.error: GlmdError | None = None
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._choices = choices
        self._outlet = outlet
        self._stopwatch = stopwatch
        self._ticket: Ticket | None = None
        self._cached = 0
        self._scores: list[Logprob] = []

    def start(self, ticket: Ticket) -> None:
        self._ticket = ticket

    def cancel(self) -> None:
        """End what has not ended; what was held back is sent."""
        if self.ended.is_set():
            return
        if self._ticket is not None:
            self._ticket.cancel()
        self._break_off()

    # -- what came of it -----------------------------------------------------------------------

    @property
    def endings(self) -> list[Ending]:
        return [
            Ending(choice=index, finish_reason=choice.finish_reason, stop=choice.stop)
            for index, choice in enumerate(self._choices)
            if choice.finish_reason is not None
        ]

    @property
    def answers(self) -> list[tuple[int, Message, FinishReason]]:
        """(choice, turn, reason) of the answers worth keeping: not those cancelled unbegun."""
        return [
            (index, choice.message, choice.finish_reason)
            for index, choice in enumerate(self._choices)
            if choice.finish_reason is not None
            and (choice.finish_reason != "cancelled" or choice.begun)
        ]

    @property
    def usage(self) -> Usage:
        return Usage(len(self._prompt), sum(choice.made for choice in self._choices), self._cached)

    @property
    def timings(self) -> Timings:
        started = self._ticket.started if self._ticket else 0.0
        return self._stopwatch.timings(started, self.usage.completion_tokens)

    async def prompt_scores(self) -> list[TokenLogprob]:
        """Log-probabilities of the prompt, if they were asked for. Made in a thread: with many
        alternatives those of a long prompt take a second."""

        def make() -> list[TokenLogprob]:
            return [
                token_logprob(self._tokenizer, token, logprob)
                for token, logprob in zip(self._prompt[1:], self._scores, strict=True)
            ]

        return await asyncio.to_thread(make) if self._scores else []

    # -- Listener ------------------------------------------------------------------------------

    def progress(self, phase: Phase, done: int, total: int) -> None:
        self._outlet.progress(phase, done, total)

    def prefilled(self, total: int, cached: int) -> None:
        self._stopwatch.prefilled()
        self._cached = cached

    def prompt_logprobs(self, items: list[Logprob]) -> None:
        self._scores = items

    def token(self, token: Token) -> None:
        choice = self._choices[token.choice]
        if choice.finish_reason is not None:
            return
        if token.token >= 0:
            self._stopwatch.token()
        self._send(token.choice, choice.token(token))
        if choice.finish_reason is not None and token.finish is None and self._ticket:
            self._ticket.cancel(token.choice)
        if all(choice.finish_reason is not None for choice in self._choices):
            self.ended.set()

    def failed(self, error: GlmdError) -> None:
        """What there is of the answers stays, as if it had been cancelled."""
        if not self.ended.is_set():
            self.error = error
            self._break_off()

    def _break_off(self) -> None:
        for index, choice in enumerate(self._choices):
            if choice.finish_reason is None:
                self._send(index, choice.end("cancelled"))
        self.ended.set()

    def _send(self, index: int, deltas: Sequence[Content]) -> None:
        for delta in deltas:
            self._outlet.delta(delta, index)
