"""`glmd reload`."""

from __future__ import annotations

import click

from glmd.frontends.cli.commands.status import facts
from glmd.frontends.cli.options import json_option, name_option
from glmd.frontends.cli.terminal import StatusLine, print_json


@click.command("reload")
@click.option("--model", type=click.Path(), help="Checkpoint folder, packed file or bmodel.")
@click.option(
    "--mode", type=click.Choice(["f16", "int8", "int4"]), help="Quantise to this while loading."
)
@click.option("--tokenizer", type=click.Path(), help="Where it lies, when not beside the model.")
@name_option
@json_option
def command(
    model: str | None, mode: str | None, tokenizer: str | None, name: str, as_json: bool
) -> int:
    """Load the model again, or another one, while the daemon serves; return when it does.

    Answers that have begun end on the model they began with. If the new one cannot be loaded the
    old one goes on. What is not given stays as it was, or follows config.toml.
    """
    from glmd.frontends.python_api import Client

    line = StatusLine()
    with Client(name) as client:
        line.show("loading")
        try:
            status = client.reload(model, mode=mode, tokenizer=tokenizer)  # type: ignore[arg-type]
        finally:
            line.clear()
    if as_json:
        print_json(facts(status))
    else:
        seconds = status.reload.seconds if status.reload else 0.0
        click.echo(
            f"The daemon {name} serves {status.model} {status.mode} on {status.backend}, "
            f"after {seconds:.1f} s."
        )
    return 0
