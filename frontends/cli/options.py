"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from glmd.frontends.python_api import Client

F = TypeVar("F", bound=Callable[..., Any])


def _check_name(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    import msgspec

    from glmd.settings import Name

    try:
        return msgspec.convert(value, Name)
    except msgspec.ValidationError:
        raise click.BadParameter(
            "a name has up to 32 letters, digits, dots, dashes and underscores."
        ) from None


name_option = click.option(
    "--name",
    default="default",
    metavar="NAME",
    callback=_check_name,
    help="Which daemon, where several run.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")


class Daemon(NamedTuple):
    """The daemon that a command is about."""

    name: str
    endpoint: str | None

    def client(self) -> Client:
        from glmd.frontends.python_api import Client

        return Client(self.name, endpoint=self.endpoint)


def daemon_options(function: F) -> F:
    """`--name` and `--endpoint`, given to the command as one `daemon`."""

    @name_option
    @click.option(
        "--endpoint",
        metavar="ADDRESS",
        help="A daemon elsewhere: tcp://host:port, see docs/cli.md.",
    )
    @functools.wraps(function)
    def command(name: str, endpoint: str | None, **rest: Any) -> Any:
        return function(daemon=Daemon(name, endpoint), **rest)

    return command  # type: ignore[return-value]
