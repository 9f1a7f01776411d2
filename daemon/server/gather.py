"""What a stream holds back while its reader cannot take more."""

from __future__ import annotations

from collections import deque

from glmd.wire.replies import Call, Text, ToolResult

Content = Text | Call | ToolResult


def weight(content: Content) -> int:
    """About how many bytes it takes, here and on the wire."""
    if isinstance(content, ToolResult):
        return 64 + len(content.name) + 4 * len(content.content)
    logprobs = sum(32 + 32 * len(item.top) for item in content.logprobs)
    inner = 4 * len(content.text) if isinstance(content, Text) else len(repr(content.call))
    return 64 + inner + 8 * len(content.tokens) + logprobs


class _Run:
    """Texts of one choice that follow each other: one text, once somebody asks for it."""

    def __init__(self, first: Text) -> None:
        self._texts = [first.text]
        self._tokens = list(first.tokens)
        self._logprobs = list(first.logprobs)

    def add(self, text: Text) -> None:
        self._texts.append(text.text)
        self._tokens += text.tokens
        self._logprobs += text.logprobs

    def joined(self) -> Text:
        return Text("".join(self._texts), self._tokens, self._logprobs)


class _Waiting:
    """An item and the weight of what went into it."""

    def __init__(self, item: _Run | Call | ToolResult) -> None:
        self.item = item
        self.weight = 0


class Gathered:
    """Deltas that wait, texts of a choice joined. `size`: bytes, by `weight`."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[_Waiting]] = {}
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, choice: int, content: Content) -> None:
        line = self._lines.setdefault(choice, deque())
        last = line[-1].item if line else None
        if not isinstance(content, Text):
            line.append(_Waiting(content))
        elif isinstance(last, _Run):
            last.add(content)
        else:
            line.append(_Waiting(_Run(content)))
        line[-1].weight += weight(content)
        self.size += weight(content)

    def take(self) -> tuple[int, Content]:
        """The next one; choices take turns, each keeps its order. Raises StopIteration when
        empty."""
        choice = next(iter(self._lines))
        line = self._lines.pop(choice)
        first = line.popleft()
        if line:
            self._lines[choice] = line
        self.size -= first.weight
        return choice, first.item.joined() if isinstance(first.item, _Run) else first.item

    def clear(self) -> None:
        self._lines.clear()
        self.size = 0
