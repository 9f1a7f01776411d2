"""What `glmd start` and `glmd restart` share: the settings as options, and waiting for the load."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from glmd.frontends.cli.options import name_option
from glmd.frontends.cli.terminal import note, print_json

if TYPE_CHECKING:
    from glmd.settings import DaemonSettings

F = TypeVar("F", bound=Callable[..., Any])


class _Ids(click.ParamType):  # type: ignore[type-arg]
    """0,1"""

    name = "ids"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            ids = [int(word) for word in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of chip ids, as in 0,1.", param, ctx)
        if min(ids) < 0 or len(set(ids)) < len(ids):
            self.fail(f"{value!r} names a chip twice, or one below 0.", param, ctx)
        return ids


_OPTIONS = (
    click.option("--model", type=click.Path(), help="Checkpoint folder, packed file or bmodel."),
    click.option(
        "--tokenizer", type=click.Path(), help="Where it lies, when not beside the model."
    ),
    click.option("--backend", type=click.Choice(["auto", "cpu", "bm1684x"])),
    click.option(
        "--devid",
        "devices",
        type=_Ids(),
        metavar="IDS",
        help="BM1684X chips: 0 or 0,1. See `glmd devices`.",
    ),
    click.option("--simulate/--no-simulate", default=None, help="Run a bmodel on the simulator."),
    click.option(
        "--libsophon",
        type=click.Path(),
        metavar="DIR",
        help="Where libbmrt.so and libbmlib.so lie, or the simulator.",
    ),
    click.option(
        "--mode", type=click.Choice(["f16", "int8", "int4"]), help="Quantise to this while loading."
    ),
    click.option("--context", type=click.IntRange(0), help="Tokens a conversation may have."),
    click.option("--slots", type=click.IntRange(0), help="Conversations that stay resident."),
    click.option("--threads", type=click.IntRange(0), help="Of the CPU backend, in all."),
    click.option("--replicas", type=click.IntRange(1, 64), help="Copies of the model on the CPU."),
    click.option("--max-queue", type=click.IntRange(1, 65536), help="Requests that may wait."),
    click.option("--listen", metavar="ADDRESS", help="Serve tcp://host:port as well."),
    click.option(
        "--plugin-dir",
        "plugin_dirs",
        type=click.Path(),
        multiple=True,
        callback=lambda ctx, parameter, value: list(value) or None,
        help="Another folder with plugins; may be repeated.",
    ),
    click.option(
        "--plugin-memory",
        type=click.IntRange(0),
        metavar="MIB",
        help="What plugins may add to an engine's memory; 0: anything.",
    ),
    click.option(
        "--safe-mode/--no-safe-mode", default=None, help="No plugins but the built-in ones."
    ),
    click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
)


def settings_options(function: F) -> F:
    """Adds the options of a daemon; the command gets DaemonSettings as `settings`."""

    @functools.wraps(function)
    def command(as_json: bool, **given: Any) -> Any:
        import msgspec

        from glmd.settings import DaemonSettings
        from glmd.validation import explain

        fields = {
            name: given.pop(name) for name in DaemonSettings.__struct_fields__ if name in given
        }
        try:
            settings = msgspec.convert(fields, DaemonSettings)
        except msgspec.ValidationError as error:
            raise click.UsageError(explain(error)) from None
        return function(settings=settings, as_json=as_json, **given)

    for option in reversed((name_option, *_OPTIONS)):
        command = option(command)
    return command  # type: ignore[return-value]


def launch(settings: DaemonSettings, *, as_json: bool) -> None:
    """Start the daemon, show how far the load is, and say what serves."""
    from glmd import control
    from glmd.frontends.cli.load_bar import LoadBar

    with LoadBar() as bar:
        started = control.start_daemon(settings, bar.show)
    facts = started.facts
    if as_json:
        print_json(
            {
                "name": facts.name,
                "already_running": started.already,
                "pid": facts.pid,
                "model": facts.model,
                "backend": facts.backend,
                "endpoints": facts.endpoints,
                "log": facts.log,
            }
        )
        return
    click.echo(
        f"The daemon {facts.name} {'already ' if started.already else ''}serves {facts.model} on "
        f"{facts.backend} (pid {facts.pid})."
    )
    if started.already:
        note(f"`{control.command('restart', facts.name)}` gives it other settings.")
