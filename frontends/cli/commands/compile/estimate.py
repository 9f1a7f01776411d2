"""`glmd compile estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from glmd.frontends.cli.compiling import Compiling, compile_options, pipeline
from glmd.frontends.cli.options import json_option
from glmd.frontends.cli.terminal import note, print_json, print_table

if TYPE_CHECKING:
    from glmd.compiler.estimate.estimate import Estimate


@click.command("estimate")
@compile_options
@json_option
def command(compiling: Compiling, as_json: bool) -> int:
    """Say how fast a model would be on one chip, from the compiler's own timing of it.

    Compiles one layer and the heads; a compile with the same options goes on from there.
    """
    from glmd.compiler.estimate.estimate import LABEL
    from glmd.compiler.estimate.sample import estimate

    checkpoint, toolchain = compiling.open(), compiling.toolchain()
    with pipeline(compiling, checkpoint, toolchain) as steps:
        found = estimate(steps, toolchain)
    if as_json:
        print_json(_facts(found) | {"label": LABEL, "toolchain": toolchain.version})
        return 0
    print_table(("net", "runs a token", "µs", "DDR MB", "GB/s"), _rows(found))
    click.echo(
        f"{found.tokens_per_second:.2f} tokens/s, {1e3 * found.token_seconds:.1f} ms each; "
        f"the first after {found.first_token_seconds:.3f} s ({LABEL})"
    )
    note(
        "Without launches, host and embedding: a card is slower, for prompts more than for tokens."
    )
    return 0


def _rows(estimate: Estimate) -> list[list[str]]:
    rows = []
    for name, profile in estimate.nets.items():
        runs = estimate.token.get(name, 0)
        figures = ["-", "-", "-"]
        if profile is not None:
            figures = [
                f"{1e6 * profile.seconds:.0f}",
                f"{profile.ddr_bytes / 1e6:.1f}",
                f"{profile.bandwidth / 1e9:.1f}",
            ]
        rows.append([name, str(runs or "-"), *figures])
    return rows


def _facts(estimate: Estimate) -> dict[str, Any]:
    return {
        "nets": {
            name: profile and {"seconds": profile.seconds, "ddr_bytes": profile.ddr_bytes}
            for name, profile in estimate.nets.items()
        },
        "runs": {"token": estimate.token, "prompt": estimate.prompt},
        "token_seconds": estimate.token_seconds,
        "tokens_per_second": estimate.tokens_per_second,
        "first_token_seconds": estimate.first_token_seconds,
    }
