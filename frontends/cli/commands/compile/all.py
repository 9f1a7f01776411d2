"""`glmd compile CHECKPOINT`."""

from __future__ import annotations

from pathlib import Path

import click

from glmd.frontends.cli.compiling import Compiling, compile_options, pipeline, refuse_options
from glmd.frontends.cli.load_bar import LoadBar


class _Nameless(click.Command):
    """It is run without being named, and has no name in its usage."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        pieces = " ".join(self.collect_usage_pieces(ctx))
        formatter.write_usage(ctx.command_path.strip(), pieces)


@click.command("all", cls=_Nameless)
@compile_options
@click.option(
    "--target",
    type=click.Choice(["bm1684x", "cpu"]),
    default="bm1684x",
    show_default=True,
    help="A bmodel, or a packed file for the CPU.",
)
def command(compiling: Compiling, target: str) -> int:
    """Make NAME_MODE_Ndev/NAME_MODE_Ndev.bmodel from a checkpoint folder, with --target cpu
    NAME_MODE_cpu/NAME_MODE_cpu.glmd."""
    click.echo(str(_pack(compiling) if target == "cpu" else _compile(compiling)))
    return 0


def _compile(compiling: Compiling) -> Path:
    checkpoint = compiling.open()
    compiling.check_export()
    toolchain = compiling.toolchain()
    with pipeline(compiling, checkpoint, toolchain) as steps:
        steps.compile(toolchain)
        return steps.workspace.model


def _pack(compiling: Compiling) -> Path:
    from glmd.checkpoint.folder import Checkpoint
    from glmd.compiler.pack import pack

    bmodel_options = ("recipe", "num_device", "seq_length", "group_size", "jobs", "tpu_mlir")
    refuse_options("--target cpu", *bmodel_options)
    build = compiling.build
    folder = compiling.out.absolute() / f"{build.name}_{build.mode}_cpu"
    with LoadBar("packing the model") as bar:
        return pack(Checkpoint.open(compiling.checkpoint), build, folder, bar.show)
