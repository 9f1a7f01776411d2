"""`glmd sessions`: conversations that the daemon keeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from glmd.frontends.cli.options import Daemon, daemon_options, json_option
from glmd.frontends.cli.terminal import print_json, print_table, printable

if TYPE_CHECKING:
    from glmd.wire.replies import Session, StoredMessage


@click.group("sessions")
def command() -> None:
    """List, show, rename and delete conversations."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@json_option
@daemon_options
def list_sessions(limit: int, as_json: bool, daemon: Daemon) -> int:
    """List the newest sessions."""
    with daemon.client() as client:
        found = client.sessions.list(limit=limit)
    if as_json:
        print_json(found)
    else:
        rows = [(s.session, _date(s.updated), str(s.messages), s.title) for s in found]
        print_table(("session", "updated", "messages", "title"), rows)
    return 0


@command.command("show")
@click.argument("session")
@json_option
@daemon_options
def show(session: str, as_json: bool, daemon: Daemon) -> int:
    """Print a conversation; with --json its whole tree, branches that were left included."""
    with daemon.client() as client:
        found = client.sessions.get(session)
    if as_json:
        print_json({"info": found.info, "leaf": found.leaf, "tree": found.tree})
    else:
        for stored in branch(found):
            click.echo(f"[{stored.content.role}] {printable(stored.content.content)}")
    return 0


@command.command("rename")
@click.argument("session")
@click.argument("title")
@json_option
@daemon_options
def rename(session: str, title: str, as_json: bool, daemon: Daemon) -> int:
    """Give a session another title."""
    with daemon.client() as client:
        client.sessions.rename(session, title)
    if as_json:
        print_json({"session": session, "title": title})
    else:
        click.echo(f"{session} is now called {title}." if title else f"{session} has no title now.")
    return 0


@command.command("delete")
@click.argument("session", nargs=-1, required=True)
@json_option
@daemon_options
def delete(session: tuple[str, ...], as_json: bool, daemon: Daemon) -> int:
    """Delete sessions for good."""
    deleted: list[str] = []
    try:
        with daemon.client() as client:
            for one in dict.fromkeys(session):
                client.sessions.delete(one)
                deleted.append(one)
    finally:
        # Also when one of them is not there: what went before it is gone.
        if deleted and as_json:
            print_json({"deleted": deleted})
        elif deleted:
            click.echo(f"Deleted {', '.join(deleted)}.")
    return 0


def branch(session: Session) -> list[StoredMessage]:
    """The messages from the first one to the newest leaf."""
    tree = {stored.message: stored for stored in session.tree}
    found: list[StoredMessage] = []
    at = session.leaf
    while at is not None:
        found.append(tree[at])
        at = tree[at].parent
    return found[::-1]


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
