"""`glmd start`: load a model and serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from glmd.frontends.cli.launch import launch, settings_options
from glmd.frontends.cli.options import json_option

if TYPE_CHECKING:
    from glmd.settings import DaemonSettings


@click.command("start")
@settings_options
@click.option("--foreground", is_flag=True, help="Stay in this terminal; Ctrl-C stops it.")
@json_option
def command(settings: DaemonSettings, foreground: bool, as_json: bool) -> int:
    """Start the daemon, and return when it serves.

    Without --model it loads what config.toml says, else the small model that ships with glmd. Where
    a daemon of this name runs already, it stays as it is; asking it for other settings fails.
    """
    if foreground:
        from glmd import control

        control.run_foreground(settings)
    launch(settings, as_json=as_json)
    return 0
