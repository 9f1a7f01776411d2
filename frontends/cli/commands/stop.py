"""`glmd stop`."""

from __future__ import annotations

import click

from glmd.frontends.cli.options import json_option, name_option
from glmd.frontends.cli.terminal import print_json


@click.command("stop")
@name_option
@click.option("--now", is_flag=True, help="End running answers instead of waiting for them.")
@json_option
def command(name: str, now: bool, as_json: bool) -> int:
    """Stop the daemon and everything it started.

    Running answers may end, for at most 30 seconds.
    """
    from glmd import control

    found = control.running(name)
    control.stop_daemon(name, drain=not now)
    if as_json:
        print_json({"name": name, "stopped": True, "pid": found and found.pid})
    else:
        click.echo(f"The daemon {name} has stopped.")
    return 0
