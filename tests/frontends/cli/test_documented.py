"""docs/cli.md names every command and every flag, in the command's own section."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from support.documents import DOCS

from glmd.frontends.cli.app import COMMANDS, cli
from glmd.frontends.cli.sampling import SETTINGS

PAGE = (DOCS / "cli.md").read_text()
EVERYWHERE = {"--help"}  # said once, above all commands
SHARED = {setting.flag for setting in SETTINGS}  # the section on settings has them


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            assert child is not None
            yield from commands(child, f"{name} {sub}")


def part(name: str) -> str:
    """What the page says of a command: its section, or that of the group it is in, with the section
    that it refers to."""
    found = re.findall(rf"^### {name}\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S)
    if not found:
        group, _, last = name.rpartition(" ")
        assert group != "glmd", f"{name} has no section"
        found = [part(group)]
        assert re.search(rf"`(?:{name}|{last})\b", found[0]), f"{name} is not named"
    other = re.search(r"(?:those|options) of `(glmd \w+)`", found[0])
    return str(found[0]) + (part(other[1]) if other else "")


def flags(command: click.Command) -> set[str]:
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    return {word for option in options for word in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "completion"])
def test_every_flag_of_a_command_is_in_its_section(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for full, one in commands(command, f"glmd {name}"):
        text = part(full)
        for flag in flags(one) - EVERYWHERE - SHARED:
            assert re.search(rf"`{re.escape(flag)}[`\s]", text), f"{full} {flag} is not named"


def test_every_setting_is_among_the_settings() -> None:
    found = re.findall(r"^### Settings\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S)[0]
    for flag in SHARED:
        assert re.search(rf"`{flag}`", found), flag
