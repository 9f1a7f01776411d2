"""`glmd compile deploy`."""

from __future__ import annotations

import click

from glmd.frontends.cli.compiling import Compiling, compile_options, pipeline


@click.command("deploy")
@compile_options
def command(compiling: Compiling) -> int:
    """Compile each exported net to a bmodel of its own; what was exported of it is then deleted."""
    checkpoint, toolchain = compiling.open(), compiling.toolchain()
    with pipeline(compiling, checkpoint, toolchain) as steps:
        steps.deploy(toolchain)
        click.echo(str(steps.workspace.nets))
    return 0
