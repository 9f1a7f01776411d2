"""`glmd ask`: one question, one answer."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from glmd.frontends.cli.app import EXIT_INTERRUPTED, EXIT_OK
from glmd.frontends.cli.options import Daemon, daemon_options, json_option
from glmd.frontends.cli.overflow import Overflow, advised, overflow_option
from glmd.frontends.cli.sampling import sampling_options


@click.command("ask")
@click.argument("prompt", nargs=-1)
@click.option("--system", metavar="TEXT", help="Instructions before the question.")
@click.option("--session", metavar="ID", help="Go on in a session: see `glmd sessions`.")
@overflow_option("error")
@json_option
@sampling_options
@daemon_options
def command(
    prompt: tuple[str, ...],
    system: str | None,
    session: str | None,
    overflow: Overflow,
    as_json: bool,
    sampling: dict[str, Any],
    daemon: Daemon,
) -> int:
    """Ask one question and print the answer while it comes.

    The words of PROMPT are joined by spaces. Without any the prompt is what comes on stdin, and a
    word "-" stands for it: cat notes.txt | glmd ask "In one sentence:" -
    """
    text = _prompt(prompt)
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": text})

    # Late, because these take longer to import than everything above.
    from glmd.frontends.cli.answer import (
        AnswerView,
        ctrl_c_cancels,
        tell_ending,
        tell_timings,
    )
    from glmd.frontends.cli.terminal import note, print_json

    view = AnswerView()
    with (
        advised(overflow),
        daemon.client() as client,
        client.stream(
            turns, session=session, overflow=overflow, on_progress=view.on_progress, **sampling
        ) as stream,
    ):
        if as_json:
            with ctrl_c_cancels(stream):
                result = stream.result()
        else:
            result = view.show(stream)
    if result.finish_reason == "cancelled":
        return EXIT_INTERRUPTED
    if prompt and "-" not in prompt and _pipe_holds_something():
        note('What is on stdin was not used; a word "-" stands for it: glmd ask "Sum up:" -')
    if as_json:
        print_json(facts(result))
    else:
        tell_ending(result)
        tell_timings(result)
    return EXIT_OK


def _prompt(words: tuple[str, ...]) -> str:
    if not words and sys.stdin.isatty():
        raise click.UsageError("What is the question? glmd ask 你好, or pipe it in.")
    if not words or "-" in words:
        piped = sys.stdin.buffer.read().decode(errors="replace").rstrip("\n")
        words = tuple(piped if word == "-" else word for word in words or ("-",))
    text = " ".join(words)
    if not text.strip():
        raise click.UsageError("The question is empty.")
    return text


def _pipe_holds_something() -> bool:
    """Whether stdin is a pipe with something to read, without reading it or waiting for it. A file
    is not asked: most likely it belongs to a loop around the command."""
    import fcntl
    import stat
    import termios

    try:
        pipe = sys.stdin.fileno()
        waiting = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    except (AttributeError, OSError):  # no stdin at all, or none of the system's
        return False
    return stat.S_ISFIFO(os.fstat(pipe).st_mode) and any(waiting)


def facts(result: Any) -> dict[str, Any]:
    """A ChatResult as `--json` prints it."""
    return {
        "text": result.text,
        "finish_reason": result.finish_reason,
        "tool_calls": result.tool_calls,
        "usage": result.usage,
        "timings": result.timings,
        "seed": result.seed,
        "token_ids": result.token_ids,
        "session": result.session,
        "dropped": result.dropped,
    }
