"""`glmd compile combine`."""

from __future__ import annotations

import click

from glmd.frontends.cli.compiling import Compiling, compile_options, pipeline


@click.command("combine")
@compile_options
def command(compiling: Compiling) -> int:
    """Put the compiled nets into one bmodel, and tokenizer and manifest beside it."""
    checkpoint, toolchain = compiling.open(), compiling.toolchain()
    with pipeline(compiling, checkpoint, toolchain) as steps:
        steps.combine(toolchain)
        click.echo(str(steps.workspace.model))
    return 0
