"""`glmd compile export`."""

from __future__ import annotations

import click

from glmd.frontends.cli.compiling import Compiling, compile_options, pipeline, refuse_options


@click.command("export")
@compile_options
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where torch holds the weights of a net while it is exported; for --recipe seed.",
)
def command(compiling: Compiling, device: str) -> int:
    """Write each net as TPU-MLIR takes it, four bytes a weight: with --recipe seed as ONNX, for
    which torch is needed, else in its own dialect. Needs no TPU-MLIR."""
    if compiling.build.recipe == "serve":
        refuse_options("--recipe serve, which needs no torch", "device")
    checkpoint = compiling.open()
    compiling.check_export()
    with pipeline(compiling, checkpoint, None) as steps:
        steps.export(device)
        click.echo(str(steps.workspace.nets))
    return 0
