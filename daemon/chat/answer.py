"""ChatGLM3's answer, read while it is being written.

After <|assistant|> the model writes a line of metadata, mostly empty, and then the content. Another
<|assistant|> begins another segment of the same kind. A segment whose metadata names a tool is a
call (see calls.py); every other one is text.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from glmd.chat import ToolCall
from glmd.daemon.chat.calls import INTERPRETER, parse_call

Part = str | ToolCall

_FENCE = "```"


class AnswerParser:
    """Feed the text of the segments and learn what of it is text and what a call.

    Text is given on at once unless it may still turn out to be a call. What looks like a call and
    is none comes out as text, as the model wrote it. The parts joined are the same however the
    text was split.
    """

    def __init__(self, tools: Collection[str]) -> None:
        """`tools`: the names the model may call; the interpreter is always one of them."""
        self._tools = frozenset(tools)
        self._names = self._tools | {INTERPRETER}
        self._state: Literal["metadata", "call", "text"] = "metadata"
        self._held = ""
        self._at_start = True  # of this segment's text: ChatGLM3 drops its first spaces
        self._said_anything = False

    def feed(self, text: str) -> list[Part]:
        self._held += text
        if self._state == "metadata":
            self._read_metadata()
        if self._state == "call" and not self._may_be_call():
            self._state = "text"
        return self._text() if self._state == "text" else []

    def next_segment(self) -> list[Part]:
        """The model wrote <|assistant|>: the segment is complete, and another begins."""
        parts = self.finish()
        self._state = "metadata"
        self._at_start = True
        return parts

    def finish(self) -> list[Part]:
        """The answer is over, or this segment of it."""
        if self._state == "call":
            metadata, _, content = self._held.lstrip().partition("\n")
            call = parse_call(metadata, content, self._tools)
            if call is not None:
                self._held = ""
                return [call]
        self._state = "text"
        return self._text()

    def _read_metadata(self) -> None:
        line, newline, _ = self._held.partition("\n")
        if newline:
            self._state = "call" if line.strip() in self._names else "text"
        elif line.strip() not in self._names and not self._may_become_name(line.lstrip()):
            self._state = "text"

    def _may_become_name(self, start: str) -> bool:
        return any(name.startswith(start) for name in self._names)

    def _may_be_call(self) -> bool:
        content = self._held.lstrip().partition("\n")[2].lstrip()
        return content.startswith(_FENCE) or _FENCE.startswith(content)

    def _text(self) -> list[Part]:
        text, self._held = self._held, ""
        if self._at_start:
            text = text.lstrip()
        if not text:
            return []
        if self._at_start and self._said_anything:
            text = "\n" + text
        self._at_start = False
        self._said_anything = True
        return [text]
