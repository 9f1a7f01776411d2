"""`glmd toolchain`: the compiler for BM1684X."""

from __future__ import annotations

from pathlib import Path

import click

from glmd.frontends.cli.options import json_option
from glmd.frontends.cli.terminal import file_size, note, print_json


@click.group("toolchain")
def command() -> None:
    """Install TPU-MLIR, the vendor's compiler for BM1684X, or see which one is used.

    It goes into a Python 3.10 environment of its own, which all checkouts of a user share.
    """


@command.command("install")
def _install() -> int:
    """Install it; does nothing but mend where it is there already."""
    from glmd.compiler.toolchain.install import install_toolchain

    toolchain = install_toolchain(note)
    click.echo(f"TPU-MLIR {toolchain.version} in {toolchain.root}")
    return 0


@command.command("status")
@click.option(
    "--tpu-mlir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Look at this one. [default: TPUC_ROOT, else the installed one, else PATH]",
)
@json_option
def _status(tpu_mlir: Path | None, as_json: bool) -> int:
    """Say which toolchain `glmd compile` uses, and whether it runs."""
    from glmd.compiler.toolchain.find import find_toolchain

    toolchain = find_toolchain(tpu_mlir)
    toolchain.check_tools()
    if as_json:
        facts = {name: str(getattr(toolchain, name)) for name in ("version", "root", "python")}
        print_json(facts)
    else:
        click.echo(f"TPU-MLIR {toolchain.version} in {toolchain.root}, run by {toolchain.python}")
    return 0


@command.command("remove")
def _remove() -> int:
    """Delete what `install` installed."""
    from glmd.compiler.toolchain.install import remove_toolchain

    freed = remove_toolchain()
    click.echo(f"{file_size(freed)} freed." if freed else "None is installed.")
    return 0
