"""`glmd devices`."""

from __future__ import annotations

from typing import Any

import click

from glmd.frontends.cli.accelerators import ask_chips, find_accelerators
from glmd.frontends.cli.options import json_option, name_option
from glmd.frontends.cli.terminal import file_size, note, print_json, print_table


@click.command("devices")
@name_option
@click.option(
    "--libsophon",
    type=click.Path(),
    default="",
    metavar="DIR",
    help="Where libbmrt.so and libbmlib.so lie.",
)
@json_option
def command(name: str, libsophon: str, as_json: bool) -> int:
    """List BM1684X chips: the ids that `glmd start --devid` takes."""
    found = find_accelerators(libsophon)
    used = _used(name)
    free = [device for device in found.devices if device not in used]
    known = {**(ask_chips(free, libsophon) if free else {}), **used}
    rows: list[dict[str, Any]] = [
        {"device": device, "daemon": None, **known[device]} for device in found.devices
    ]
    if found.problem:
        note(f"{found.problem} {found.hint}")
    if as_json:
        print_json(rows)
        return 0
    if found.problem:
        return 0
    print_table(("device", "used by", "memory", "busy", "temperature"), [_row(row) for row in rows])
    for row in rows:
        if row.get("problem"):
            note(f"Device {row['device']}: {row['problem']}")
    return 0


def _used(name: str) -> dict[int, dict[str, Any]]:
    """The chips of running daemons, and what the daemon `name` knows of its own; it alone may ask
    them."""
    import msgspec

    from glmd import control
    from glmd.frontends.python_api import Client

    used: dict[int, dict[str, Any]] = {}
    for daemon in control.all_running():
        used |= {device: {"daemon": daemon.name} for device in daemon.devices}
        if daemon.name == name and daemon.devices and daemon.endpoints:
            with Client(name) as client:
                replicas = client.status().replicas
            for device in (device for replica in replicas for device in replica.devices):
                used[device.device] |= msgspec.structs.asdict(device)
    return used


def _row(row: dict[str, Any]) -> list[str]:
    def shown(key: str, form: str) -> str:
        return form.format(row[key]) if row.get(key) is not None else "-"

    total, used = row.get("memory_total"), row.get("memory_used")
    memory = f"{file_size(used)} of {file_size(total)}" if total and used is not None else "-"
    return [
        str(row["device"]),
        row["daemon"] or "-",
        memory,
        shown("utilisation", "{:.0%}"),
        shown("temperature", "{:.0f} °C"),
    ]
