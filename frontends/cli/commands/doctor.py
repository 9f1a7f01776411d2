"""`glmd doctor`."""

from __future__ import annotations

import click

from glmd.frontends.cli.app import EXIT_FAILED, EXIT_OK
from glmd.frontends.cli.options import json_option, name_option
from glmd.frontends.cli.terminal import print_json


@click.command("doctor")
@name_option
@json_option
def command(name: str, as_json: bool) -> int:
    """Look for what keeps glmd from working, and say what to do about it.

    Fails when a check fails; a warning is none.
    """
    from glmd.frontends.cli.doctor import machine, parts

    findings = [
        machine.python(),
        parts.package(),
        parts.engine(),
        parts.model(name),
        parts.daemon(name),
        machine.memory(),
        machine.disk(name),
        machine.runtime_folder(name),
        machine.accelerators(),
        machine.toolchain(),
    ]
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.state:5} {finding.check:15} {finding.found}")
            if finding.next:
                click.echo(f"{'':21} {finding.next}")
    failed = any(finding.state == "fail" for finding in findings)
    return EXIT_FAILED if failed else EXIT_OK
