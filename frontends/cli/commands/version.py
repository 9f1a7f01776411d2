"""`glmd version`."""

from __future__ import annotations

import click

from glmd.frontends.cli.options import json_option
from glmd.frontends.cli.terminal import print_json


@click.command("version")
@json_option
def command(as_json: bool) -> int:
    """Print the versions of glmd, of its protocol and of Python."""
    import platform

    import glmd
    from glmd.wire import PROTOCOL_MAX, PROTOCOL_MIN

    if as_json:
        print_json(
            {
                "glmd": glmd.__version__,
                "protocol": [PROTOCOL_MIN, PROTOCOL_MAX],
                "python": platform.python_version(),
            }
        )
    else:
        protocol = (
            f"{PROTOCOL_MIN} to {PROTOCOL_MAX}" if PROTOCOL_MIN < PROTOCOL_MAX else PROTOCOL_MAX
        )
        click.echo(
            f"glmd {glmd.__version__}, protocol {protocol}, Python {platform.python_version()}"
        )
    return 0
