"""`glmd chat`: a conversation."""

from __future__ import annotations

from typing import Any

import click

from glmd.frontends.cli.options import Daemon, daemon_options
from glmd.frontends.cli.overflow import Overflow, overflow_option
from glmd.frontends.cli.sampling import sampling_options


@click.command("chat")
@click.option("--system", metavar="TEXT", help="Instructions before the conversation.")
@click.option("--session", metavar="ID", help="Go on in a session: see `glmd sessions`.")
@overflow_option("drop_oldest")
@sampling_options
@daemon_options
def command(
    system: str | None,
    session: str | None,
    overflow: Overflow,
    sampling: dict[str, Any],
    daemon: Daemon,
) -> int:
    """Talk to the model. /help lists what can be said beside questions.

    Without a terminal each line of stdin is a question, and the exit code is that of the first one
    that was refused.
    """
    import sys

    from glmd import paths
    from glmd.frontends.cli.chat.conversation import Conversation
    from glmd.frontends.cli.chat.lines import PipedLines, TypedLines, typed_ahead
    from glmd.frontends.cli.chat.loop import talk
    from glmd.frontends.cli.chat.slash import COMMANDS, tell_opened
    from glmd.frontends.cli.terminal import note

    with daemon.client() as client:
        status = client.status()
        conversation = Conversation(client, sampling, system=system, overflow=overflow)
        opened = None if session is None else conversation.open(session)
        if not sys.stdin.isatty():
            return talk(conversation, PipedLines(), patient=False)
        lines = TypedLines(paths.data_dir(daemon.name) / "chat_history", list(COMMANDS))
        simulated = ", simulated" if status.simulated else ""
        note(f"{status.model} {status.mode} on {status.backend}{simulated}")
        note("/help says what else there is; Ctrl-D leaves.")
        if opened is not None:
            tell_opened(opened)
        with typed_ahead():
            return talk(conversation, lines, patient=True)
