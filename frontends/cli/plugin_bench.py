"""`glmd plugins bench`: what a sampler costs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click

from glmd.errors import Code, EngineFailed
from glmd.frontends.cli.options import json_option
from glmd.frontends.cli.samplers import SamplerType
from glmd.frontends.cli.terminal import print_json

MODULE = "glmd.daemon.engine.bench"


@click.command("bench")
@click.argument("sampler", type=SamplerType(), metavar="NAME[:KEY=VALUE,…]")
@click.option("--plugin-dir", multiple=True, metavar="PATH", help="Another folder with plugins.")
@json_option
def bench(sampler: dict[str, Any], plugin_dir: tuple[str, ...], as_json: bool) -> int:
    """Measure what a sampler costs, by itself and the others in its batch.

    Needs no daemon: a process of its own decodes 8 answers at ChatGLM3's vocabulary, on a model of
    random numbers, with the sampler in one of them and without.
    """
    import msgspec

    spec = {"stage": sampler, "folders": list(plugin_dir)}
    done = subprocess.run(
        [sys.executable, "-I", "-m", MODULE, msgspec.json.encode(spec).decode()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise EngineFailed(
            f"The process in which {sampler['name']} was measured ended with {done.returncode}.",
            hint="If nothing above says why, the plugin took it down.",
            code=Code.PLUGIN_ERROR,
        )
    cost = msgspec.json.decode(done.stdout)
    if "error" in cost:
        raise EngineFailed(cost["error"], hint=cost["hint"], code=Code.PLUGIN_ERROR)
    if as_json:
        print_json(cost)
    else:
        click.echo(told(cost))
    return 0


def told(cost: dict[str, Any]) -> str:
    """For a person."""
    rows = [
        ("to begin an answer", cost["start"], f"the first time {cost['first_start']:.2f}"),
        ("a token", cost["token"], f"one of twenty over {cost['slow_token']:.2f}"),
        (
            f"a step of {cost['batch']} answers",
            cost["step"],
            f"with it in one of them {cost['step_beside']:.2f}",
        ),
    ]
    later = max(cost["step_beside"] - cost["step"], 0.0)
    return "\n".join(
        [
            f"{cost['sampler']} at {cost['vocab']:,} ids",
            *(f"  {what:20} {ms:8.2f} ms, {more}" for what, ms, more in rows),
            f"Every other answer's tokens come {later:.2f} ms later each.",
        ]
    )
