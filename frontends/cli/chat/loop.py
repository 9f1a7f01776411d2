"""The loop of a conversation: a line, then a command or an answer."""

from __future__ import annotations

import click

from glmd.errors import ConnectionFailed, GlmdError
from glmd.frontends.cli.answer import AnswerView, tell_ending, tell_timings
from glmd.frontends.cli.app import EXIT_OK, exit_code
from glmd.frontends.cli.chat.conversation import Conversation
from glmd.frontends.cli.chat.lines import Lines
from glmd.frontends.cli.chat.slash import Leave, Retry, run_command
from glmd.frontends.cli.overflow import advised
from glmd.frontends.cli.terminal import note


def talk(conversation: Conversation, lines: Lines, *, patient: bool) -> int:
    """Until there are no more lines, or somebody leaves. What was refused is told, and the
    conversation goes on. `patient`: it does so after Ctrl-C too, without a daemon, and whatever
    happened ends well; otherwise those two are raised, and the exit code is that of what was
    refused first."""
    code = EXIT_OK
    for line in lines:
        try:
            _turn(conversation, line)
        except Leave:
            break
        except GlmdError as error:
            if not patient and isinstance(error, ConnectionFailed):
                raise
            click.echo(str(error), err=True)
            code = code or exit_code(error)
        except KeyboardInterrupt:
            if not patient:
                raise
            note("stopped")
    return EXIT_OK if patient else code


def _turn(conversation: Conversation, line: str) -> None:
    try:
        if not line.strip() or run_command(conversation, line):
            return
        _answer(conversation, line)
    except Retry:
        _answer(conversation, None)


def _answer(conversation: Conversation, question: str | None) -> None:
    """Show the answer to a question, or another one to the last. Ctrl-C stops it, and what has come
    of it stays in the conversation."""
    view = AnswerView()
    if question is not None:
        stream = conversation.say(question, view.on_progress)
    elif (again := conversation.retry(view.on_progress)) is not None:
        stream = again
    else:
        note("Nothing has been asked yet.")
        return
    with advised(conversation.overflow), stream:
        try:
            result = view.show(stream)
        finally:
            conversation.kept(stream)
    conversation.heard(result)
    if result.finish_reason == "cancelled":
        note("stopped")
    tell_ending(result)
    tell_timings(result)
