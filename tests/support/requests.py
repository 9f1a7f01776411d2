"""Drives `Requests` in a test: an outlet that remembers, and a pool that follows a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from support.tokenizers import nano

from glmd.chat import Message, ToolCall
from glmd.daemon.engine.messages import Logprob, Token
from glmd.daemon.models.deployment import Deployment
from glmd.daemon.models.entrance import Entrance
from glmd.daemon.pool.job import Job, Listener
from glmd.daemon.request.requests import Requests
from glmd.daemon.request.running import Running
from glmd.daemon.sessions.store import SessionStore
from glmd.errors import GlmdError
from glmd.wire.replies import Call, Ending, Phase, Text, TokenLogprob, ToolResult, Usage
from glmd.wire.requests import Chat, Complete

HELLO = Message("user", "hello")


class RecordingOutlet:
    """Holds the contract of Outlet: `accepted` first, then the rest, one last word. A request that
    was cancelled before it was accepted has the last word only. `on_delta` is called with each
    delta, after it has been noted."""

    def __init__(self) -> None:
        self.on_delta: Callable[[], None] = lambda: None
        self.accepted_with: dict[str, Any] | None = None
        self.deltas: list[tuple[int, Text | Call | ToolResult]] = []
        self.done_with: dict[str, Any] | None = None
        self.error: GlmdError | None = None
        self.moved = asyncio.Event()  # set at every call

    def accepted(self, **facts: Any) -> None:
        assert self.accepted_with is None
        self._open()
        self.accepted_with = facts

    def progress(self, phase: Phase, done: int, total: int) -> None:
        assert self.accepted_with is not None or phase == "loading"
        self._open()

    def delta(self, content: Text | Call | ToolResult, choice: int = 0) -> None:
        assert self.accepted_with is not None
        self._open()
        self.deltas.append((choice, content))
        self.on_delta()

    def done(self, **facts: Any) -> None:
        self._open()
        self.done_with = facts

    def failed(self, error: GlmdError) -> None:
        self._open()
        self.error = error

    def _open(self) -> None:
        assert self.done_with is None, "something came behind done"
        assert self.error is None, "something came behind the error"
        self.moved.set()

    # -- what came -----------------------------------------------------------------------------

    def _of(self, choice: int) -> list[Text | Call]:
        return [d for i, d in self.deltas if i == choice and not isinstance(d, ToolResult)]

    def text(self, choice: int = 0) -> str:
        return "".join(delta.text for delta in self._of(choice) if isinstance(delta, Text))

    def tokens(self, choice: int = 0) -> list[int]:
        return [token for delta in self._of(choice) for token in delta.tokens]

    def logprobs(self, choice: int = 0) -> list[TokenLogprob]:
        return [item for delta in self._of(choice) for item in delta.logprobs]

    def calls(self, choice: int = 0) -> list[ToolCall]:
        return [delta.call for delta in self._of(choice) if isinstance(delta, Call)]

    @property
    def result(self) -> dict[str, Any]:
        """Of `done`; the error is raised."""
        if self.error is not None:
            raise self.error
        assert self.done_with is not None, "no last word"
        return self.done_with

    @property
    def endings(self) -> list[Ending]:
        endings: list[Ending] = self.result["endings"]
        return endings

    @property
    def ending(self) -> Ending:
        (ending,) = self.endings
        return ending

    @property
    def usage(self) -> Usage:
        usage: Usage = self.result["usage"]
        return usage


class ScriptedModel(msgspec.Struct):
    context: int = 512
    vocab: int = 2304
    outputs: Sequence[str] = ("token", "logits")


class ScriptedTicket:
    def __init__(self, pool: ScriptedPool, job: Job, listener: Listener) -> None:
        self.job = job
        self.started = 0.0
        self.cancelled: list[int | None] = []
        self._pool = pool
        self._listener = listener
        self._open = set(range(job.n))

    def cancel(self, choice: int | None = None) -> None:
        self.cancelled.append(choice)
        self._open -= self._open if choice is None else {choice}

    async def play(self) -> None:
        """A step for all choices, then a turn of the event loop, as with an engine child."""
        job, pool = self.job, self._pool
        await asyncio.sleep(0)
        if not self._open:
            return
        self.started = asyncio.get_running_loop().time()
        self._listener.progress("prefill", 0, len(job.prompt))
        self._listener.prefilled(len(job.prompt), 0)
        if job.prompt_logprobs:
            self._listener.prompt_logprobs([Logprob(-1.0, [(t, -1.0)]) for t in job.prompt[1:]])
        for i in range(job.max_tokens):
            await pool.gate.wait()
            for choice in sorted(self._open):
                script = pool.scripts[choice]
                if i == len(script):
                    self._listener.failed(GlmdError("the script is over"))
                    return
                token = script[i]
                finish = "stop" if token in job.stop_ids else None
                if i + 1 == job.max_tokens and finish is None:
                    finish = "length"
                if finish:
                    self._open.discard(choice)
                logprob = None if job.logprobs is None else Logprob(-1.0, [(token, -1.0)])
                self._listener.token(Token(1, choice, token, finish, logprob))
            if not self._open:
                return
            await asyncio.sleep(0)


class ScriptedPool:
    """No engine: choice i "generates" `scripts[i]`, for token sequences no random model would give.

    Only a source of ids; whatever the engine decides is tested with the real pool. `gate`, when
    cleared, holds the tokens back. `refusal` is raised by submit.
    """

    def __init__(self, *scripts: Sequence[int], model: ScriptedModel | None = None) -> None:
        self.scripts = scripts
        self.model: ScriptedModel | None = model or ScriptedModel()
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: GlmdError | None = None
        self.loading = (0, 0)
        self.refusal: Exception | None = None
        self.tickets: list[ScriptedTicket] = []
        self._tasks: list[asyncio.Task[None]] = []

    def failure(self) -> GlmdError | None:
        return self.broken

    def submit(self, job: Job, listener: Listener) -> ScriptedTicket:
        if self.refusal is not None:
            raise self.refusal
        self.tickets.append(ScriptedTicket(self, job, listener))
        self._tasks.append(asyncio.ensure_future(self.tickets[-1].play()))
        return self.tickets[-1]

    async def over(self) -> None:
        """Wait until nothing plays; raises what a listener raised."""
        await asyncio.gather(*self._tasks)


class ScriptedClient:
    """Sends requests to a pool with these scripts."""

    def __init__(self, sessions: SessionStore, *scripts: Sequence[int], **model: Any) -> None:
        self.pool = ScriptedPool(*scripts, model=ScriptedModel(**model))
        self.entrance = Entrance(Deployment(nano(), self.pool), 64)
        self.requests = Requests(self.entrance, sessions)

    def begin(self, request: Chat | Complete) -> tuple[Running, RecordingOutlet]:
        outlet = RecordingOutlet()
        return self.requests.start(request, "me", outlet), outlet

    async def ask(self, request: Chat | Complete) -> RecordingOutlet:
        running, outlet = self.begin(request)
        await running.finished.wait()
        await self.pool.over()
        return outlet

    async def chat(self, *messages: Message, **fields: Any) -> RecordingOutlet:
        return await self.ask(Chat(id="1", messages=list(messages or [HELLO]), **fields))


Make = Callable[..., ScriptedClient]


def said(text: str) -> list[int]:
    """A plain answer as the model writes it: its line of metadata, its content, the end."""
    return [*nano().encode("\n"), *nano().encode(text), nano().special["<|user|>"]]
