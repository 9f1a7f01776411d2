"""`glmd plugins`: what is there, why something is not, and a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmd.frontends.cli.options import Daemon, daemon_options, json_option, name_option
from glmd.frontends.cli.plugin_bench import bench
from glmd.frontends.cli.terminal import note, print_json, print_table, printable

if TYPE_CHECKING:
    from glmd.wire.replies import PluginInfo, Plugins


@click.group("plugins")
def command() -> None:
    """List, look over, switch and write plugins."""


command.add_command(bench)


@command.command("list")
@json_option
@daemon_options
def list_plugins(as_json: bool, daemon: Daemon) -> int:
    """List the plugins, their state, why one does not serve, and every stage of a sampler chain.

    Without a running daemon it says what there is to be loaded, and imports nothing.
    """
    told = _ask(daemon)
    if told is None:
        rows = _found()
        stages: list[Any] = []
        if not as_json:
            note(f"No daemon named {daemon.name} is running; this is what it would try to load.")
    else:
        rows, stages = [_row(plugin) for plugin in told.plugins], list(told.stages)
    if as_json:
        print_json({"running": told is not None, "plugins": rows, "stages": stages})
        return 0
    print_table(
        ("plugin", "state", "from", "samplers", "tools"),
        [
            (
                row["name"],
                row["state"],
                row["origin"],
                ", ".join(row["samplers"]) or "-",
                ", ".join(row["tools"]) or "-",
            )
            for row in rows
        ],
    )
    for row in rows:
        if row["error"]:
            click.echo(f"{row['name']}: {printable(row['error'])}")
    if stages:
        click.echo()
        print_table(
            ("stage", "from", "parameters"),
            [
                (
                    stage.name,
                    stage.plugin or "glmd itself",
                    ", ".join(name for name, _ in _parameters(stage.params)) or "-",
                )
                for stage in stages
            ],
        )
    return 0


@command.command("info")
@click.argument("plugin")
@json_option
@daemon_options
def info(plugin: str, as_json: bool, daemon: Daemon) -> int:
    """Show all that is known of one plugin."""
    from glmd.errors import NotFound

    told = _ask(daemon)
    rows = _found() if told is None else [_row(one) for one in told.plugins]
    row = next((row for row in rows if row["name"] == plugin), None)
    if row is None:
        raise NotFound(f"There is no plugin {plugin}.", hint="`glmd plugins list` shows all.")
    row["stages"] = [stage for stage in told.stages if stage.plugin == plugin] if told else []
    if as_json:
        print_json(row)
        return 0
    for field, value in row.items():
        if field != "stages" and value:
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            click.echo(f"{field:9} {printable(shown)}")
    for stage in row["stages"]:
        click.echo(f"sampler   {stage.name} {printable(stage.about)}".rstrip())
        for name, kind in _parameters(stage.params):
            click.echo(f"          {name}: {kind}")
    return 0


@command.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def check(file: Path, as_json: bool) -> int:
    """Look a file over as the daemon would, in a process of its own. Needs no daemon."""
    report = _check(file.absolute())
    if as_json:
        print_json(report)
    elif report.get("error"):
        click.echo(f"{file}: {printable(report['error'])}")
    else:
        what = [f"the sampler {one['name']}" for one in report.get("samplers", [])]
        what += [f"the tool {one['name']}" for one in report.get("tools", [])]
        what = what or [f"the hook {hook}" for hook in report.get("hooks", [])]
        click.echo(f"{file} is a plugin with {', '.join(what)}.")
        for one in report.get("samplers", []):
            if why := one.get("untried"):
                click.echo(f"The sampler {one['name']} was not tried: {printable(why)}.")
    return 1 if report.get("error") else 0


@command.command("enable")
@click.argument("plugin")
@json_option
@name_option
def enable(plugin: str, as_json: bool, name: str) -> int:
    """Have a plugin loaded again that was disabled."""
    return _switch(plugin, as_json, name, off=False)


@command.command("disable")
@click.argument("plugin")
@json_option
@name_option
def disable(plugin: str, as_json: bool, name: str) -> int:
    """Have a plugin loaded no more, until it is enabled."""
    return _switch(plugin, as_json, name, off=True)


@command.command("reload")
@click.argument("plugin", required=False)
@json_option
@daemon_options
def reload(plugin: str | None, as_json: bool, daemon: Daemon) -> int:
    """Look for plugins again; load PLUGIN anew, which also ends its quarantine.

    Saved files are noticed without it.
    """
    with daemon.client() as client:
        told = client.reload_plugins(plugin)
    rows = [_row(one) for one in told.plugins if plugin in (None, one.name)]
    wrong = [row for row in rows if row["error"] and row["state"] != "blocked"]
    if as_json:
        print_json({"plugins": rows})
    else:
        for row in wrong:
            click.echo(f"{row['name']}: {printable(row['error'])}")
        if not wrong:
            click.echo(f"{plugin or 'What there is'} is loaded.")
    return 1 if wrong else 0


@command.command("new")
@click.argument("plugin")
@json_option
def new(plugin: str, as_json: bool) -> int:
    """Write a plugin to begin from, and its test, into the folder of plugins.

    A running daemon has it at once.
    """
    from glmd.errors import InvalidRequest
    from glmd.frontends.cli.plugin_template import write

    if not plugin.isidentifier() or plugin.startswith("_"):
        raise InvalidRequest(
            f"{plugin!r} cannot be a plugin's name here.",
            hint="Letters, digits and underscores, the first one a letter.",
        )
    file, test = write(plugin)
    if as_json:
        print_json({"file": str(file), "test": str(test)})
    else:
        click.echo(f"{file} is a plugin; its test is {test}.")
        note(f'Try it: glmd ask --sampler {plugin}:strength=5 "What is glmd?"')
    return 0


def _ask(daemon: Daemon) -> Plugins | None:
    """What the daemon says of its plugins; None when there is none to ask."""
    from glmd import control
    from glmd.errors import ConnectionFailed

    if daemon.endpoint is None and control.running(daemon.name) is None:
        return None
    try:
        with daemon.client() as client:
            return client.plugins()
    except ConnectionFailed as error:
        if daemon.endpoint is not None:
            raise
        note(f"{error.message} What follows is what it would load.")
        return None


def _row(plugin: PluginInfo) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(plugin)


def _found() -> list[dict[str, Any]]:
    """Rows about what a daemon would find, in the form of PluginInfo."""
    from glmd.discovery import discover
    from glmd.wire.replies import PluginInfo

    rows = []
    for source in discover():
        row = _row(
            PluginInfo(
                name=source.name,
                state="blocked",
                origin=source.origin,
                path=source.path,
                version=source.version,
                sha256=source.sha256,
                error=source.problem,
            )
        )
        rows.append(row if source.problem else {**row, "state": "found"})
    return rows


def _parameters(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """The parameters in a JSON schema, each with its kind and default."""
    if "$ref" in schema:
        schema = schema["$defs"][schema["$ref"].rpartition("/")[2]]
    told = []
    for name, field in schema.get("properties", {}).items():
        kind = field.get("type") or " or ".join(
            str(one.get("type", "object")) for one in field.get("anyOf", [{}])
        )
        default = f" ({field['default']!r})" if "default" in field else ""
        told.append((name, f"{kind}{default}"))
    return told


def _check(file: Path) -> dict[str, Any]:
    import subprocess
    import sys

    import msgspec

    from glmd.loading import CHECK_SECONDS

    line = [sys.executable, "-I", "-m", "glmd.daemon.plugins", "--check", str(file)]
    try:
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {
            "error": f"Importing and trying it had not come to an end after {CHECK_SECONDS:.0f} s."
        }
    if not done.stdout:
        return {"error": f"The plugin took its process down, which ended with {done.returncode}."}
    report: dict[str, Any] = msgspec.json.decode(done.stdout)
    return report


def _switch(plugin: str, as_json: bool, name: str, *, off: bool) -> int:
    from glmd import control, discovery
    from glmd.errors import NotFound
    from glmd.frontends.python_api import Client

    if plugin not in {source.name for source in discovery.discover()} | discovery.disabled():
        raise NotFound(f"There is no plugin {plugin}.", hint="`glmd plugins list` shows all.")
    discovery.disable(plugin, off)
    runs = control.running(name) is not None
    if runs:
        with Client(name) as client:
            client.reload_plugins()
    if as_json:
        print_json({"plugin": plugin, "enabled": not off})
    else:
        when = "" if runs else " from the next start on"
        click.echo(f"{plugin} is {'disabled' if off else 'enabled'}{when}.")
    return 0
