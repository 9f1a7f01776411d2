"""The life of one request, from what a client asked to its terminal message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from glmd.daemon.models.deployment import Deployment
from glmd.daemon.models.entrance import Entrance
from glmd.daemon.plugins.version import Offer
from glmd.daemon.request.generation import Generation
from glmd.daemon.request.outlet import Outlet
from glmd.daemon.request.prepare import Prepared, prepare_chat, prepare_complete
from glmd.daemon.request.stopwatch import Stopwatch
from glmd.daemon.sessions.store import SessionStore, Turn
from glmd.errors import DaemonError, GlmdError, InvalidRequest
from glmd.wire.replies import Ending, Usage
from glmd.wire.requests import Chat, Complete
from glmd.wire.sampling import Sampling

log = logging.getLogger(__name__)

LastWord = Callable[[], None]

Samplers = Callable[[Sampling], Awaitable[Mapping[str, Offer]]]
"""Gives the samplers of plugins that a request with this sampling may name."""


async def no_samplers(sampling: Sampling) -> Mapping[str, Offer]:
    return {}


class Running:
    """A request under way; it has begun when this is made. `finished` is set after its terminal
    message, which comes whatever happens."""

    def __init__(
        self,
        entrance: Entrance,
        sessions: SessionStore,
        samplers: Samplers,
        request: Chat | Complete,
        principal: str,
        outlet: Outlet,
    ) -> None:
        self.finished = asyncio.Event()
        self._entrance = entrance
        self._sessions = sessions
        self._samplers = samplers
        self._request = request
        self._principal = principal
        self._outlet = outlet
        self._stopwatch = Stopwatch()
        self._cancelled = asyncio.Event()
        self._generation: Generation | None = None
        # The loop itself keeps only weak references to its tasks.
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        """End the request; its terminal message is `done` with finish_reason "cancelled" unless it
        has ended already. A request that was not yet accepted never will be, and leaves nothing
        in its session."""
        self._cancelled.set()
        if self._generation is not None:
            try:
                self._generation.cancel()
            except Exception as error:
                log.exception("Request %s could not be cancelled.", self._request.id)
                self._generation.failed(_internal(error))

    async def _run(self) -> None:
        try:
            try:
                last_word = await self._serve()
            except GlmdError as error:
                last_word = partial(self._outlet.failed, error)
            except Exception as error:
                log.exception("Request %s failed.", self._request.id)
                last_word = partial(self._outlet.failed, _internal(error))
            last_word()
        except Exception:
            log.exception("The end of request %s could not be told.", self._request.id)
        finally:
            self.finished.set()

    async def _serve(self) -> LastWord:
        entering = self._entrance.enter(self._principal, self._outlet.progress, self._cancelled)
        async with entering as deployment:
            if deployment is None:
                return self._cancelled_early()
            return await self._answer(deployment)

    async def _answer(self, deployment: Deployment) -> LastWord:
        async with self._turn() as turn:
            prepared = await self._prepare(deployment, turn)
            generation = await self._submit(deployment, prepared, turn)
            if generation is None:
                return self._cancelled_early()
            await generation.ended.wait()
            endings = await _keep(generation, turn)
            if generation.error is not None:
                raise generation.error
            return partial(
                self._outlet.done,
                endings=endings,
                usage=generation.usage,
                timings=generation.timings,
                prompt_logprobs=await generation.prompt_scores(),
            )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Turn | None]:
        request = self._request
        if isinstance(request, Complete) or request.session is None:
            if isinstance(request, Chat) and request.parent is not None:
                raise InvalidRequest(
                    "parent names a message of a session, and no session is given.",
                    hint="Give session too, or leave parent out.",
                )
            yield None
            return
        turn = await self._sessions.begin(
            self._principal, request.session, request.parent, again=not request.messages
        )
        try:
            yield turn
        finally:
            turn.release()

    async def _prepare(self, deployment: Deployment, turn: Turn | None) -> Prepared:
        """In a thread: the tokenizer takes a while over a long text, and lets go of the GIL."""
        request, principal = self._request, self._principal
        samplers = await self._samplers(request.sampling)
        tokenizer, model = deployment.tokenizer, deployment.model
        if isinstance(request, Complete):
            return await asyncio.to_thread(
                prepare_complete, tokenizer, model, request, principal, samplers
            )
        history = turn.history if turn else []
        return await asyncio.to_thread(
            prepare_chat, tokenizer, model, request, history, principal, samplers
        )

    async def _submit(
        self, deployment: Deployment, prepared: Prepared, turn: Turn | None
    ) -> Generation | None:
        """None when the request was cancelled before it could be accepted."""
        if self._cancelled.is_set():
            return None
        asked = None
        if turn is not None and isinstance(self._request, Chat):
            asked = await turn.ask(self._request.messages)
            if self._cancelled.is_set():
                await _withdraw(turn)
                return None
        generation = Generation(
            deployment.tokenizer,
            prepared.job.prompt,
            prepared.choices,
            self._outlet,
            self._stopwatch,
        )
        try:
            generation.start(deployment.pool.submit(prepared.job, generation))
        except Exception:
            if turn is not None:
                await _withdraw(turn)
            raise
        self._outlet.accepted(
            prompt_tokens=len(prepared.job.prompt),
            seed=prepared.job.seed,
            dropped=prepared.dropped,
            session=turn.session if turn else None,
            message=asked,
        )
        self._generation = generation
        return generation

    def _cancelled_early(self) -> LastWord:
        return partial(
            self._outlet.done,
            endings=[Ending(choice=i, finish_reason="cancelled") for i in range(self._request.n)],
            usage=Usage(0, 0, 0),
            timings=self._stopwatch.timings(0.0, 0),
            prompt_logprobs=[],
        )


async def _keep(generation: Generation, turn: Turn | None) -> list[Ending]:
    """The endings, after the answers were put into their session. One that cannot be kept is
    still an answer: its ending says why."""
    endings = generation.endings
    answers = generation.answers
    if turn is None or not answers:
        return endings
    indices = [index for index, _, _ in answers]
    try:
        ids = await turn.answer([(message, reason) for _, message, reason in answers])
        told = [{"message": id} for id in ids]
    except GlmdError as error:
        log.error("An answer is not kept in session %s: %s", turn.session, error)
        told = [{"unsaved": str(error)}] * len(indices)
    for index, change in zip(indices, told, strict=True):
        endings[index] = msgspec.structs.replace(endings[index], **change)
    return endings


async def _withdraw(turn: Turn) -> None:
    try:
        await turn.withdraw()
    except GlmdError as error:
        log.error("A refused question stays in session %s: %s", turn.session, error)


def _internal(error: Exception) -> DaemonError:
    return DaemonError(
        f"A fault inside the daemon ended this request: {type(error).__name__}.",
        hint="The daemon's log says more.",
    )
