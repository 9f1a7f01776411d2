"""What a client gives back: deltas while an answer comes, results when it has ended."""

from __future__ import annotations

import msgspec

from glmd.chat import Message, ToolCall
from glmd.wire.replies import FinishReason, Timings, TokenLogprob, ToolResult, Usage


class Delta(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A piece of an answer. `seq` counts from 0 without a gap; `choice` is the answer it belongs
    to, when several were asked for. `text` is "" for what is not text, so that a loop may simply
    print it. `tokens`: the ids behind the piece."""

    seq: int
    choice: int = 0
    text: str = ""
    tokens: list[int] = []
    logprobs: list[TokenLogprob] = []


class TextDelta(Delta, frozen=True, tag="text", tag_field="type"):
    """More text."""


class ToolCallDelta(Delta, frozen=True, tag="tool_call", tag_field="type"):
    """The model asks for a tool."""

    call: ToolCall


class ToolResultDelta(Delta, frozen=True, tag="tool_result", tag_field="type"):
    """The daemon ran a tool itself and gave the result to the model."""

    result: ToolResult


class Choice(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One answer. `stop`: the stop string that ended it. `message_id`: its id in the session;
    `unsaved`: why it has none although a session was named."""

    index: int
    text: str
    finish_reason: FinishReason
    token_ids: list[int]
    logprobs: list[TokenLogprob] = []
    tool_calls: list[ToolCall] = []
    tool_results: list[ToolResult] = []
    stop: str | None = None
    message_id: str | None = None
    unsaved: str | None = None

    @property
    def message(self) -> Message:
        """The answer as a turn, to go on from."""
        call = self.tool_calls[-1] if self.finish_reason == "tool_call" else None
        return Message(role="assistant", content=self.text, tool_call=call)


class Result(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What `chat` and `complete` have in common. The properties are those of the first choice."""

    id: str
    choices: list[Choice]
    usage: Usage
    timings: Timings
    seed: int | None = None

    @property
    def text(self) -> str:
        return self.choices[0].text

    @property
    def finish_reason(self) -> FinishReason:
        return self.choices[0].finish_reason

    @property
    def token_ids(self) -> list[int]:
        return self.choices[0].token_ids

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return self.choices[0].logprobs


class ChatResult(Result, frozen=True, omit_defaults=True, kw_only=True):
    """`session`, `user_message_id`: where the turn is kept. `dropped`: oldest turns left out to fit
    the context."""

    session: str | None = None
    user_message_id: str | None = None
    dropped: int = 0

    @property
    def tool_calls(self) -> list[ToolCall]:
        return self.choices[0].tool_calls

    @property
    def tool_call(self) -> ToolCall | None:
        """The call that ended the answer, for the caller to run; None where it ended otherwise."""
        return self.message.tool_call

    @property
    def message(self) -> Message:
        return self.choices[0].message


class CompleteResult(Result, frozen=True, omit_defaults=True, kw_only=True):
    """`prompt_logprobs`: one a prompt token after the first, when they were asked for."""

    prompt_logprobs: list[TokenLogprob] = []
