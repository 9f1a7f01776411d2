"""`glmd restart`."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from glmd.frontends.cli.launch import launch, settings_options
from glmd.frontends.cli.options import json_option


@click.command("restart")
@settings_options
@click.option("--now", is_flag=True, help="End running answers instead of waiting for them.")
@json_option
def command(settings: Any, now: bool, as_json: bool) -> int:
    """Stop the daemon, if it runs, and start it again.

    What is not given stays as the running daemon was started.
    """
    from glmd import control
    from glmd.errors import DaemonNotRunning

    with contextlib.suppress(DaemonNotRunning):
        control.stop_daemon(settings.name, drain=not now)
    launch(settings, as_json=as_json)
    return 0
