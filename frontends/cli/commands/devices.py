"""`glmd devices`."""

from __future__ import annotations

from typing import Any

import click

from glmd.frontends.cli.accelerators import find_accelerators
from glmd.frontends.cli.options import json_option, name_option
from glmd.frontends.cli.terminal import file_size, note, print_json, print_table


@click.command("devices")
@name_option
@json_option
def command(name: str, as_json: bool) -> int:
    """List BM1684X chips: the ids that `glmd start --devid` takes."""
    found = find_accelerators()
    used = _used_by(name)
    rows: list[dict[str, Any]] = [
        {"device": device, "daemon": None, **used.get(device, {})} for device in found.devices
    ]
    if as_json:
        print_json(rows)
        return 0
    if found.problem:
        note(f"{found.problem} {found.hint}")
        return 0
    print_table(("device", "used by", "memory", "busy", "temperature"), [_row(row) for row in rows])
    return 0


def _used_by(name: str) -> dict[int, dict[str, Any]]:
    """What the running daemon knows of its chips; it alone may ask them."""
    import msgspec

    from glmd import control
    from glmd.frontends.python_api import Client

    if control.running(name) is None:
        return {}
    with Client(name) as client:
        replicas = client.status().replicas
    return {
        device.device: {**msgspec.structs.asdict(device), "daemon": name}
        for replica in replicas
        for device in replica.devices
    }


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
