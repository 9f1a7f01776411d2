"""The commands of a conversation: `/set`, `/show` and so on, and the words of the older demos."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from glmd.frontends.cli.chat.conversation import Conversation, Opened
from glmd.frontends.cli.sampling import SETTINGS, Setting, chosen, shown, useless, word
from glmd.frontends.cli.terminal import note, printable

SESSIONS_SHOWN = 10


class Leave(Exception):
    """The person wants to go."""


class Retry(Exception):
    """The last question is to be answered again."""


class Slash(NamedTuple):
    """`run` is given what stands behind the command."""

    usage: str
    help: str
    run: Callable[[Conversation, str], None]


def _help(conversation: Conversation, argument: str) -> None:
    width = max(len(slash.usage) for slash in COMMANDS.values())
    for slash in COMMANDS.values():
        note(f"{slash.usage:{width}}  {slash.help}")
    note("Enter sends, Alt-Enter begins another line, Ctrl-C stops an answer, Ctrl-D leaves.")


def _set(conversation: Conversation, argument: str) -> None:
    if not argument.strip():
        _show(conversation, argument)
        return
    name, _, value = argument.strip().partition(" ")
    setting = _setting(name)
    if setting is None:
        note(f"There is no setting {name!r}. There are: {', '.join(map(word, SETTINGS))}.")
        return
    if not value.strip():
        conversation.sampling.pop(setting.name, None)
        note(f"{word(setting)} is the daemon's default again.")
        return
    try:
        # Several of a kind are written as in a shell; a stop string is all that stands there.
        several = setting.repeated and setting.name != "stop"
        words = shlex.split(value) if several else [value.strip()]
        values = [setting.type.convert(word, None, None) for word in words]
        if setting.name == "sampling":
            _check_samplers(conversation, values)
    except click.BadParameter as error:
        note(f"{word(setting)}: {error.message}")
        return
    except ValueError as error:
        note(f"{word(setting)}: {error}.")
        return
    wanted = conversation.sampling | chosen(
        {setting.name: values if setting.repeated else values[0]}
    )
    if (refusal := useless(wanted, setting)) is not None:
        note(refusal)
        return
    conversation.sampling = wanted
    note(f"{word(setting)} = {shown(setting, conversation.sampling[setting.name])}")


def _check_samplers(conversation: Conversation, stages: list[dict[str, Any]]) -> None:
    """Raises ValueError for one that the daemon does not have."""
    there = [stage.name for stage in conversation.client.plugins().stages]
    for stage in stages:
        if stage["name"] not in there:
            raise ValueError(
                f"there is no sampler {stage['name']!r}. There are: {', '.join(there)}"
            )


def _show(conversation: Conversation, argument: str) -> None:
    status = conversation.client.status()
    note(f"model        {status.model} {status.mode} on {status.backend}, context {status.context}")
    note(f"session      {conversation.session or 'begins with the next question'}")
    note(f"system       {conversation.system or 'none'}")
    for setting in SETTINGS:
        if setting.name in conversation.sampling:
            note(f"{word(setting):12} {shown(setting, conversation.sampling[setting.name])}")
    note("Every other setting is the daemon's default; /set NAME VALUE changes one.")


def _system(conversation: Conversation, argument: str) -> None:
    conversation.system = argument.strip() or None
    conversation.new()
    note("A new conversation begins, " + ("so instructed." if argument else "uninstructed."))


def _new(conversation: Conversation, argument: str) -> None:
    conversation.new()
    note("A new conversation begins. The old one is in /sessions.")


def _sessions(conversation: Conversation, argument: str) -> None:
    found = conversation.client.sessions.list(limit=SESSIONS_SHOWN)
    for info in found:
        here = "*" if info.session == conversation.session else " "
        note(f"{here} {info.session}  {info.title}")
    note("/open ID goes on in one of them." if found else "There are no sessions yet.")


def _open(conversation: Conversation, argument: str) -> None:
    if not argument.strip():
        note("Which one? /sessions lists them.")
        return
    tell_opened(conversation.open(argument.strip()))


def tell_opened(opened: Opened) -> None:
    """Where a conversation goes on."""
    note(f"Going on in: {opened.title or 'a session without a title'}")
    for stored in opened.turn:
        mark = "> " if stored.content.role == "user" else ""
        note(mark + printable(stored.content.content))


def _retry(conversation: Conversation, argument: str) -> None:
    raise Retry


def _exit(conversation: Conversation, argument: str) -> None:
    raise Leave


COMMANDS = {
    "/set": Slash(
        "/set NAME [VALUE]", "change a setting; no value: the default; alone: /show", _set
    ),
    "/show": Slash("/show", "the model, the session and the settings", _show),
    "/system": Slash("/system [TEXT]", "other instructions, in a new conversation", _system),
    "/retry": Slash("/retry", "another answer to the last question", _retry),
    "/new": Slash("/new", "a new conversation; also clear, new", _new),
    "/sessions": Slash("/sessions", "the newest conversations", _sessions),
    "/open": Slash("/open ID", "go on in one of them", _open),
    "/help": Slash("/help", "this list", _help),
    "/exit": Slash("/exit", "leave; also exit, quit, q", _exit),
}

# What the demos that glmd replaces understood.
WORDS = {
    "clear": "/new",
    "new": "/new",
    "exit": "/exit",
    "quit": "/exit",
    "q": "/exit",
    "/clear": "/new",
    "/quit": "/exit",
}


def run_command(conversation: Conversation, line: str) -> bool:
    """Whether the line was a command, which has then been run. Raises Leave, Retry, GlmdError."""
    name, _, argument = line.strip().partition(" ")
    if line.strip() in WORDS:
        name = WORDS[line.strip()]
    elif not line.startswith("/"):
        return False
    if name not in COMMANDS:
        note(f"There is no command {name}: see /help. A space before it makes it a question.")
        return True
    COMMANDS[name].run(conversation, argument)
    return True


def _setting(name: str) -> Setting | None:
    plain = name.lstrip("-").replace("_", "-")
    return next((s for s in SETTINGS if plain in {word(s), s.name.replace("_", "-")}), None)
