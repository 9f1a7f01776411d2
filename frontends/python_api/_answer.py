"""An answer as it arrives, told by the daemon's replies. No socket, no clock, no thread."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from glmd.chat import ToolCall
from glmd.errors import ConnectionFailed, GlmdError, from_wire
from glmd.frontends.python_api._results import (
    ChatResult,
    Choice,
    CompleteResult,
    Delta,
    Result,
    TextDelta,
    ToolCallDelta,
    ToolResultDelta,
)
from glmd.wire import replies
from glmd.wire.replies import AnyReply, TokenLogprob, ToolResult
from glmd.wire.requests import Attach, Chat, Complete

R = TypeVar("R", bound=Result)


class _Parts(msgspec.Struct):
    """What one choice has given so far."""

    text: list[str] = []
    tokens: list[int] = []
    logprobs: list[TokenLogprob] = []
    calls: list[ToolCall] = []
    results: list[ToolResult] = []

    def add(self, content: replies.Text | replies.Call | ToolResult) -> None:
        if isinstance(content, ToolResult):
            self.results.append(content)
            return
        self.tokens += content.tokens
        self.logprobs += content.logprobs
        if isinstance(content, replies.Call):
            self.calls.append(content.call)
        else:
            self.text.append(content.text)


class Answer(Generic[R]):
    """Checks the order of the replies to `request` and puts them together.

    `accepted`, `progress`: the last such reply. `result`: set by the last reply.
    """

    def __init__(self, request: Chat | Complete | Attach, kind: type[R]) -> None:
        self.id = request.target if isinstance(request, Attach) else request.id
        self.accepted: replies.Accepted | None = None
        self.progress: replies.Progress | None = None
        self.result: R | None = None
        self._kind = kind
        self._from_seq = request.from_seq if isinstance(request, Attach) else 0
        self._window = request.credit
        self._granted = 0
        self._deltas: list[replies.Delta] = []

    def feed(self, reply: AnyReply) -> Delta | None:
        """Take the next reply; the delta it carries. Raises the error it carries, and
        ConnectionFailed for a reply that cannot come now. Taking the same reply twice in a row is
        taking it once: a KeyboardInterrupt leaves open whether it was taken."""
        if isinstance(reply, replies.Delta):
            if not (self._deltas and self._deltas[-1] is reply):
                self._expect(reply.seq)
                self._deltas.append(reply)
            return _shown(reply)
        if isinstance(reply, replies.Progress):
            self.progress = reply
        elif isinstance(reply, replies.Accepted):
            self.accepted = reply
        elif isinstance(reply, replies.Done):
            self._expect(reply.seq)
            self.result = self._finish(reply)
        elif isinstance(reply, replies.Failure):
            raise failure(reply)
        else:
            raise unexpected(reply)
        return None

    def credit_due(self) -> int:
        """Deltas to grant now: half the window at a time, so that neither side waits."""
        due = len(self._deltas) - self._granted
        if due * 2 < self._window:
            return 0
        self._granted += due
        return due

    def text(self, choice: int = 0) -> str:
        """The text so far."""
        return "".join(self._parts(choice).text)

    def _expect(self, seq: int) -> None:
        expected = self._from_seq + len(self._deltas)
        if seq != expected:
            raise ConnectionFailed(
                f"A piece of the answer is missing: number {expected} should come next, "
                f"{seq} came.",
                hint="Ask again; if it happens twice, please report it with the daemon's log.",
            )

    def _parts(self, choice: int) -> _Parts:
        parts = _Parts()
        for delta in self._deltas:
            if delta.choice == choice:
                parts.add(delta.content)
        return parts

    def _finish(self, done: replies.Done) -> R:
        accepted = self.accepted
        fields: dict[str, Any] = {
            "id": self.id,
            "choices": [self._choice(ending) for ending in done.endings],
            "usage": done.usage,
            "timings": done.timings,
            "seed": accepted and accepted.seed,
        }
        if issubclass(self._kind, ChatResult) and accepted is not None:
            fields |= {
                "session": accepted.session,
                "user_message_id": accepted.message,
                "dropped": accepted.dropped,
            }
        if issubclass(self._kind, CompleteResult):
            fields["prompt_logprobs"] = done.prompt_logprobs
        return self._kind(**fields)

    def _choice(self, ending: replies.Ending) -> Choice:
        parts = self._parts(ending.choice)
        return Choice(
            index=ending.choice,
            text="".join(parts.text),
            finish_reason=ending.finish_reason,
            token_ids=parts.tokens,
            logprobs=parts.logprobs,
            tool_calls=parts.calls,
            tool_results=parts.results,
            stop=ending.stop,
            message_id=ending.message,
            unsaved=ending.unsaved,
        )


def _shown(reply: replies.Delta) -> Delta:
    """What is shown of it to whoever reads the answer."""
    content = reply.content
    if isinstance(content, ToolResult):
        return ToolResultDelta(seq=reply.seq, choice=reply.choice, result=content)
    if isinstance(content, replies.Call):
        return ToolCallDelta(
            seq=reply.seq,
            choice=reply.choice,
            tokens=content.tokens,
            logprobs=content.logprobs,
            call=content.call,
        )
    return TextDelta(
        seq=reply.seq,
        choice=reply.choice,
        text=content.text,
        tokens=content.tokens,
        logprobs=content.logprobs,
    )


def failure(reply: replies.Failure) -> GlmdError:
    """The exception for an `error` reply."""
    return from_wire(
        reply.code,
        reply.message,
        hint=reply.hint,
        retry_after_ms=reply.retry_after_ms,
        plugin=reply.plugin,
    )


def unexpected(reply: AnyReply) -> ConnectionFailed:
    """The exception for a reply that does not belong to its request."""
    name = reply.__struct_config__.tag
    return ConnectionFailed(
        f"The daemon sent {name!r}, which does not answer this request.",
        hint="Frontend and daemon differ in version: restart the daemon.",
    )
