"""`glmd compile export`."""

from __future__ import annotations

import click

from glmd.frontends.cli.compiling import Compiling, compile_options, pipeline


@click.command("export")
@compile_options
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where torch holds the weights of a net while it is exported.",
)
def command(compiling: Compiling, device: str) -> int:
    """Write each net as ONNX: all of them, four bytes a weight. Needs torch, and no TPU-MLIR."""
    with pipeline(compiling, compiling.open(), None) as steps:
        steps.export(device)
        click.echo(str(steps.workspace.nets))
    return 0
