"""`glmd status`, also `glmd ps`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from glmd.frontends.cli.options import Daemon, daemon_options, json_option
from glmd.frontends.cli.terminal import duration, file_size, print_json, print_table

if TYPE_CHECKING:
    from glmd.wire.replies import ReloadStatus, ReplicaStatus, StatusReply


@click.command("status")
@daemon_options
@json_option
def command(daemon: Daemon, as_json: bool) -> int:
    """Show what the daemon runs and what it has served."""
    with daemon.client() as client:
        status = client.status()
    if as_json:
        print_json(facts(status))
    else:
        _print(status)
    return 0


def facts(status: StatusReply) -> dict[str, Any]:
    """A StatusReply as `--json` prints it: every field, also those at their defaults."""
    import msgspec

    fields = msgspec.structs.asdict(status)
    del fields["id"]
    fields["reload"] = msgspec.structs.asdict(status.reload) if status.reload else None
    fields["replicas"] = [
        {
            **msgspec.structs.asdict(replica),
            "devices": [msgspec.structs.asdict(device) for device in replica.devices],
        }
        for replica in status.replicas
    ]
    return fields


def _print(status: StatusReply) -> None:
    backend = f"{status.backend} (simulated)" if status.simulated else status.backend
    lines = {
        "daemon": f"{status.name}, {status.state}, pid {status.pid}, glmd {status.server}, "
        f"up {duration(status.uptime)}",
        "model": f"{status.model} {status.mode}, from {status.model_path}",
        "backend": backend,
        "placement": status.placement,
        "context": f"{status.context} tokens",
        "requests": f"{status.requests_served} served, {status.running} running, "
        f"{status.queued} waiting",
        "clients": f"{status.clients_served} served, {status.clients} connected",
        "model loads": str(status.model_loads),
        "endpoints": ", ".join(status.endpoints),
    }
    if status.leaving:
        lines["leaving"] = f"{status.leaving}: what they accepted before a reload they finish"
    if status.reload:
        lines["reload"] = _reload(status.reload)
    for name, value in lines.items():
        click.echo(f"{name:12} {value}")
    if status.replicas:
        click.echo()
        header = ("replica", "state", "pid", "slots busy", "served", "decodes", "loads", "memory")
        print_table((*header, "devices"), [_row(replica) for replica in status.replicas])


def _reload(reload: ReloadStatus) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(reload.started))
    ending = f": {reload.error}" if reload.error else ""
    return f"{reload.state} {reload.model_path}, begun {at}, {duration(reload.seconds)}{ending}"


def _row(replica: ReplicaStatus) -> list[str]:
    state = f"{replica.state}: {replica.error}" if replica.error else replica.state
    return [
        str(replica.index),
        state,
        str(replica.pid or "-"),
        f"{replica.slots_busy} of {replica.slots}",
        str(replica.requests_served),
        " ".join(f"{n}×{width}" for width, n in enumerate(replica.decodes, 1) if n) or "-",
        str(replica.model_loads),
        file_size(replica.memory),
        ",".join(str(device.device) for device in replica.devices) or "-",
    ]
