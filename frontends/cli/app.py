"""The group of commands, and what happens to errors: a sentence on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import NoReturn

import click

from glmd.errors import Busy, DaemonNotRunning, GlmdError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_BUSY = 4
EXIT_INTERRUPTED = 130

COMMANDS = (
    "start",
    "stop",
    "restart",
    "reload",
    "status",
    "logs",
    "chat",
    "ask",
    "sessions",
    "plugins",
    "compile",
    "toolchain",
    "devices",
    "doctor",
    "completion",
    "version",
)
ALIASES = {"ps": "status"}


class _Commands(click.Group):
    """Imports a command when it is asked for, so that `glmd --version` waits for none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            from glmd.frontends.cli.plugin_commands import plugin_commands

            return plugin_commands().get_command(ctx, name)
        command: click.Command = import_module(f"glmd.frontends.cli.commands.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            commands = ", ".join(COMMANDS)
            raise click.UsageError(f"{error.message} There are: {commands}.", ctx) from None


def _print_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import glmd

        click.echo(f"glmd {glmd.__version__}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # The demos that glmd replaces spell their options with underscores.
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "max_content_width": 100,
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def cli() -> None:
    """One daemon, one loaded ChatGLM3, many frontends.

    \b
    glmd start            load the model and serve it
    glmd chat             talk to it
    glmd ask 你好         one question, one answer
    glmd stop
    """


def main() -> NoReturn:
    """Run the command line as a process does."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show 你好 is no failure
    sys.exit(run())


def run() -> int:
    """Run the command line; the exit code."""
    debug = os.environ.get("GLMD_DEBUG") == "1"
    try:
        code = cli.main(prog_name="glmd", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else EXIT_OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except GlmdError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"glmd: {error.message}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        return exit_code(error)
    except Exception as error:
        if debug:
            traceback.print_exc()
        click.echo(f"glmd failed: {type(error).__name__}: {error}", err=True)
        click.echo("This is a bug; GLMD_DEBUG=1 shows where it happened.", err=True)
        return EXIT_FAILED


def exit_code(error: GlmdError) -> int:
    if isinstance(error, DaemonNotRunning):
        return EXIT_NOT_RUNNING
    return EXIT_BUSY if isinstance(error, Busy) else EXIT_FAILED
