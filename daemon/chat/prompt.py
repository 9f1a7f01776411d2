"""ChatGLM3's prompt, made of ids, so that a role typed by a user stays text.

[gMASK] sop, then for each turn <|role|> encode(metadata + "\\n") encode(content), and at the end
<|assistant|>, after which the model writes its own metadata and newline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from glmd.chat import Message, Role, Tool
from glmd.daemon.chat.calls import format_call
from glmd.daemon.tokenizer.tokenizer import Tokenizer
from glmd.errors import ContextOverflow, InvalidRequest

TOOLS_SENTENCE = (
    "Answer the following questions as best as you can. You have access to the following tools:"
)


class Turn(NamedTuple):
    """The ids of one message. An assistant's text with a call behind it is two role lines."""

    role: Role
    ids: list[int]


class Prompt(NamedTuple):
    """`dropped`: how many of the oldest messages were left out to fit the context."""

    ids: list[int]
    dropped: int = 0


def render(tokenizer: Tokenizer, messages: Sequence[Message], tools: Sequence[Tool]) -> list[Turn]:
    """The turns of a conversation; tools are announced in a system turn of their own before it."""
    turns = [Turn("system", _line(tokenizer, "system", "", announce(tools)))] if tools else []
    return [*turns, *(_turn(tokenizer, message) for message in messages)]


def join(tokenizer: Tokenizer, turns: Sequence[Turn]) -> list[int]:
    """The prompt that asks for the turn behind `turns`."""
    special = tokenizer.special
    ids = [special["[gMASK]"], special["sop"]]
    for turn in turns:
        ids += turn.ids
    return [*ids, special["<|assistant|>"]]


def fit(
    tokenizer: Tokenizer, turns: Sequence[Turn], context: int, *, drop: bool, reserve: int = 1
) -> Prompt:
    """The prompt, if it fits `context` positions.

    With `drop` the oldest messages go first, a user's with all that answered it, until `reserve`
    tokens of an answer fit too; system turns and the last user turn, with what follows it, stay.
    Raises ContextOverflow when what has to stay does not leave room for the first token.
    """
    kept = list(turns)
    size = len(join(tokenizer, kept))
    # The first token of an answer needs no position: it comes from the last one of the prompt.
    room = context - max(reserve, 1) + 1
    while drop and size > room and (oldest := _oldest_exchange(kept)):
        size -= sum(len(turn.ids) for turn in kept[oldest])
        del kept[oldest]
    if size > context:
        raise _overflow(size, context, drop)
    return Prompt(join(tokenizer, kept), len(turns) - len(kept))


def announce(tools: Sequence[Tool]) -> str:
    """The system turn with which ChatGLM3 was taught its tools."""
    listing = [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in tools
    ]
    try:
        text = json.dumps(listing, indent=4, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"The parameters of a tool are not JSON: {error}.",
            hint="Give a JSON schema object for each tool.",
        ) from error
    return f"{TOOLS_SENTENCE}\n{text}"


def _turn(tokenizer: Tokenizer, message: Message) -> Turn:
    if message.tool_call is None:
        ids = _line(tokenizer, message.role, message.metadata, message.content)
        return Turn(message.role, ids)
    ids = _line(tokenizer, "assistant", *format_call(message.tool_call))
    if message.content:
        ids = _line(tokenizer, "assistant", "", message.content) + ids
    return Turn("assistant", ids)


def _line(tokenizer: Tokenizer, role: Role, metadata: str, content: str) -> list[int]:
    return [
        tokenizer.special[f"<|{role}|>"],
        *tokenizer.encode(f"{metadata}\n"),
        *tokenizer.encode(content),
    ]


def _oldest_exchange(turns: Sequence[Turn]) -> slice | None:
    """From the first turn that is not the system's to the next user turn; None when only the last
    user turn, with what follows it, is left."""
    start = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    users = [i for i, turn in enumerate(turns) if turn.role == "user" and i > start]
    return slice(start, users[0]) if users else None


def _overflow(tokens: int, context: int, drop: bool) -> ContextOverflow:
    if drop:
        return ContextOverflow(
            f"The system messages and the last question alone have {tokens} tokens, and the "
            f"context holds {context}.",
            hint="Shorten them.",
        )
    return ContextOverflow(
        f"The prompt has {tokens} tokens and the context holds {context}.",
        hint="Shorten it, begin a new conversation, or have the oldest turns left out (overflow: "
        "drop_oldest).",
    )
