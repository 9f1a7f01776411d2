"""Stop strings, found also when they are spread over several tokens."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes text on until one of `stops` occurs in it; the stop itself is not passed on.

    The stop that is complete first ends the text, of two that end together the longer one. Only
    text that may be the beginning of a stop is held back, so the outcome does not depend on how the
    text was split.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.met: str | None = None

    def feed(self, text: str) -> str:
        """The text that is certain now; `met` is set when it is the last."""
        if self.met is not None:
            return ""
        text = self._held + text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            _, at, self.met = min(found)
            self._held = ""
            return text[:at]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back: no stop will come."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning, not the whole, of `stop`."""
    longest = min(len(stop) - 1, len(text))
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
