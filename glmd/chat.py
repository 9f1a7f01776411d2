"""Chat turns and tools, as clients write them and sessions keep them, and the format's tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "observation"]

SPECIAL_TOKENS = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "sop",
    "eop",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
"""ChatGLM3's, in the order of their ids; the first follows the last sentencepiece id."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class ToolCall(msgspec.Struct, frozen=True):
    """A call the model asks for. `arguments` are JSON-like values, parsed from Python literals."""

    name: Name
    arguments: dict[str, Any]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn.

    `metadata` is what ChatGLM3 writes on the role line (a tool's name, "interpreter", mostly "").
    An assistant turn that calls a tool has `tool_call`; its `content` is then the text before the
    call. An observation carries a tool's result.
    """

    role: Role
    content: str
    metadata: Annotated[str, msgspec.Meta(max_length=256)] = ""
    tool_call: ToolCall | None = None


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool the model may call: `parameters` is a JSON schema object."""

    name: Name
    description: str = ""
    parameters: dict[str, Any] = {}
