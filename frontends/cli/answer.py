"""Showing one answer while it comes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from glmd.frontends.cli.terminal import StatusLine, note, printable
from glmd.frontends.python_api import ChatResult, Stream
from glmd.wire.replies import Progress


@contextmanager
def ctrl_c_cancels(stream: Stream[ChatResult]) -> Iterator[None]:
    """The first Ctrl-C cancels the answer, which then ends by itself and is whole up to there; a
    second one interrupts as ever."""

    def cancel(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stream.cancel()

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class AnswerView:
    """Text to stdout as it comes; on a terminal, what the wait is for to stderr."""

    def __init__(self) -> None:
        self._line = StatusLine()
        self._begun = False

    def on_progress(self, progress: Progress) -> None:
        if not self._begun:  # else the line would be written over the answer
            self._line.show(_waiting_for(progress))

    def show(self, stream: Stream[ChatResult]) -> ChatResult:
        """Print the answer to its end, and a newline behind it. After Ctrl-C the result says
        "cancelled"."""
        ends_line = True
        try:
            with ctrl_c_cancels(stream):
                for delta in stream:
                    self._line.clear()
                    if delta.text:
                        self._begun = True
                        ends_line = delta.text.endswith("\n")
                        sys.stdout.write(printable(delta.text))
                        sys.stdout.flush()
        finally:
            self._line.clear()
            if not ends_line:
                sys.stdout.write("\n")
                sys.stdout.flush()
        return stream.result()


def tell_timings(result: ChatResult) -> None:
    """First-token time and speed, as an aside for a person."""
    if not sys.stderr.isatty():
        return
    usage, timings = result.usage, result.timings
    cached = f", {usage.cached_tokens} of them cached" if usage.cached_tokens else ""
    note(
        f"first token {timings.first_token_ms / 1000:.2f} s · "
        f"{timings.tokens_per_second:.1f} tokens/s · "
        f"{usage.completion_tokens} tokens · prompt {usage.prompt_tokens}{cached}"
    )


def tell_ending(result: ChatResult) -> None:
    """What a person should know about how the answer ended."""
    if result.dropped:
        note(f"The {result.dropped} oldest messages no longer fit and were left out.")
    if result.finish_reason == "length":
        note("The answer reached its length limit (--max-new-tokens, or the context).")
    if (unsaved := result.choices[0].unsaved) is not None:
        note(f"The answer was not kept in its session: {unsaved}")
    if (call := result.tool_call) is not None:
        note(f"The model calls the tool {call.name} with {call.arguments}.")


def _waiting_for(progress: Progress) -> str:
    done, total = progress.done, progress.total
    part = f" {done / total:.0%}" if total else ""
    return {
        "queued": f"waiting: {done} ahead" if done else "waiting",
        "loading": f"loading the model{part}",
        "prefill": f"reading {done}/{total} tokens",
        "replaying": "taking the answer up again",
        "reloading": "the model is being changed",
    }[progress.phase]
