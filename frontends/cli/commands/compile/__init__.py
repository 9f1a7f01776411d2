"""`glmd compile`: the group of its steps. Each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

# What `glmd compile CHECKPOINT` runs, without being named.
ALL = "all"
STEPS = ("export", "deploy", "combine", "verify", "info", "estimate")


class _Steps(click.Group):
    """A word that is no step is the checkpoint: every step is done, one behind the other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(STEPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != ALL and cmd_name not in STEPS:
            return None
        module = import_module(f"glmd.frontends.cli.commands.compile.{cmd_name}")
        command: click.Command = module.command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*STEPS, *ctx.help_option_names):
            args = [ALL, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return "" if name == ALL else name, found, rest  # in its help it has no name either


@click.group(cls=_Steps, subcommand_metavar="CHECKPOINT [OPTIONS] | STEP CHECKPOINT [OPTIONS]")
def command() -> None:
    """Make a bmodel, or a packed CPU file, from a ChatGLM3 checkpoint.

    `glmd compile CHECKPOINT` exports, deploys and combines, and `glmd compile CHECKPOINT --help`
    lists its options. These steps are commands too, and take the same options. What a killed run
    has done is not done again.
    """
