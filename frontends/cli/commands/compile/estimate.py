"""`glmd compile estimate`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from glmd.frontends.cli.compiling import Compiling, compile_options, pipeline, refuse_options
from glmd.frontends.cli.options import json_option
from glmd.frontends.cli.terminal import note, print_json, print_table

if TYPE_CHECKING:
    from glmd.compiler.estimate.estimate import Estimate
    from glmd.compiler.estimate.profile import Profile
    from glmd.compiler.estimate.serve import ServeEstimate


@click.command("estimate")
@compile_options
@click.option(
    "--launch-cost",
    type=click.FloatRange(0),
    default=0.1,
    show_default=True,
    metavar="MS",
    help="Milliseconds that a launch of a net takes besides; for --recipe serve.",
)
@json_option
def command(compiling: Compiling, launch_cost: float, as_json: bool) -> int:
    """Say how fast a model would be on one chip, from the compiler's own timing of it.

    Compiles one layer and the heads; a compile with the same options goes on from there.
    """
    from glmd.compiler.estimate.estimate import LABEL
    from glmd.compiler.estimate.sample import estimate
    from glmd.compiler.estimate.serve import serve_estimate

    if compiling.build.recipe == "seed":
        refuse_options("--recipe seed, whose launches are not counted", "launch_cost")
    checkpoint = compiling.open()
    compiling.check_export()
    toolchain = compiling.toolchain()
    with pipeline(compiling, checkpoint, toolchain) as steps:
        if compiling.build.recipe == "serve":
            serve = serve_estimate(steps, toolchain)
            facts, show = _serve_facts(serve, launch_cost), partial(_serve, serve, launch_cost)
        else:
            seed = estimate(steps, toolchain)
            facts, show = _seed_facts(seed), partial(_seed, seed)
    if as_json:
        print_json(facts | {"label": LABEL, "toolchain": toolchain.version})
    else:
        show()
    return 0


def _seed(estimate: Estimate) -> None:
    print_table(("net", "runs a token", "µs", "DDR MB", "GB/s"), _rows(estimate))
    click.echo(
        f"{estimate.tokens_per_second:.2f} tokens/s, {1e3 * estimate.token_seconds:.1f} ms each; "
        f"the first after {estimate.first_token_seconds:.3f} s (compiler estimate)"
    )
    note(
        "Without launches, host and embedding: a card is slower, for prompts more than for tokens."
    )


def _serve(estimate: ServeEstimate, launch_cost: float) -> None:
    rows = [
        [name, str(rows), *_figures(profile)] for (name, rows), profile in estimate.nets.items()
    ]
    print_table(("net", "rows", "µs", "DDR MB", "GB/s"), rows)
    click.echo()
    cases = []
    for case in estimate.possible():
        seconds = estimate.seconds(case, launch_cost / 1e3)
        together = estimate.tokens_per_second(case, launch_cost / 1e3)
        launches = estimate.cases[case].launches(estimate.layers)
        speed = f"{together:.1f}" if together else "-"
        cases.append([case, str(launches), f"{1e3 * seconds:.1f}", speed])
    print_table(("case (compiler estimate)", "launches", "ms", "tokens/s"), cases)
    note(f"With {launch_cost:g} ms a launch, which only a card can tell; without the host.")


def _serve_facts(estimate: ServeEstimate, launch_cost: float) -> dict[str, Any]:
    return {
        "nets": [
            {"name": name, "rows": rows} | (_timing(profile) or {})
            for (name, rows), profile in estimate.nets.items()
        ],
        "launch_seconds": launch_cost / 1e3,
        "cases": {
            case: {
                "launches": estimate.cases[case].launches(estimate.layers),
                "seconds": estimate.seconds(case, launch_cost / 1e3),
                "tokens_per_second": estimate.tokens_per_second(case, launch_cost / 1e3),
            }
            for case in estimate.possible()
        },
    }


def _rows(estimate: Estimate) -> list[list[str]]:
    rows = []
    for name, profile in estimate.nets.items():
        runs = estimate.token.get(name, 0)
        rows.append([name, str(runs or "-"), *_figures(profile)])
    return rows


def _figures(profile: Profile | None) -> list[str]:
    if profile is None:
        return ["-", "-", "-"]
    return [
        f"{1e6 * profile.seconds:.0f}",
        f"{profile.ddr_bytes / 1e6:.1f}",
        f"{profile.bandwidth / 1e9:.1f}",
    ]


def _timing(profile: Profile | None) -> dict[str, float] | None:
    if profile is None:
        return None
    return {"seconds": profile.seconds, "ddr_bytes": profile.ddr_bytes}


def _seed_facts(estimate: Estimate) -> dict[str, Any]:
    return {
        "nets": {name: _timing(profile) for name, profile in estimate.nets.items()},
        "runs": {"token": estimate.token, "prompt": estimate.prompt},
        "token_seconds": estimate.token_seconds,
        "tokens_per_second": estimate.tokens_per_second,
        "first_token_seconds": estimate.first_token_seconds,
    }
