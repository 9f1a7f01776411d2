"""`glmd restart`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click
import msgspec

from glmd.frontends.cli.launch import launch, settings_options
from glmd.frontends.cli.options import json_option

if TYPE_CHECKING:
    from glmd.settings import DaemonSettings


@click.command("restart")
@settings_options
@click.option("--now", is_flag=True, help="End running answers instead of waiting for them.")
@json_option
def command(settings: DaemonSettings, now: bool, as_json: bool) -> int:
    """Stop the daemon, if it runs, and start it again.

    What is not given stays as the running daemon was started.
    """
    from glmd import control
    from glmd.errors import DaemonNotRunning

    before = control.settings_of(settings.name)
    if before is not None:
        settings = msgspec.structs.replace(before, **given(settings))
    with contextlib.suppress(DaemonNotRunning):
        control.stop_daemon(settings.name, drain=not now)
    launch(settings, as_json=as_json)
    return 0


def given(settings: DaemonSettings) -> dict[str, Any]:
    """Of the settings those that were said."""
    fields = msgspec.structs.asdict(settings)
    return {name: value for name, value in fields.items() if value is not None}
