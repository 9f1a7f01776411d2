"""`glmd compile verify`."""

from __future__ import annotations

import click

from glmd.frontends.cli.app import EXIT_FAILED, EXIT_OK
from glmd.frontends.cli.compiling import Compiling, compile_options
from glmd.frontends.cli.options import json_option
from glmd.frontends.cli.terminal import StatusLine, print_json, print_table


@click.command("verify")
@compile_options
@json_option
def command(compiling: Compiling, as_json: bool) -> int:
    """Run each net of the bmodel on the simulator and compare it with torch.

    Fails below a cosine of 0.999. A model of real size takes hours: the simulator is slow.
    """
    from glmd.compiler.check import check_torch
    from glmd.compiler.workspace import Workspace

    checkpoint = compiling.open()
    check_torch()
    toolchain = compiling.toolchain()
    status, verdicts = StatusLine(), []
    with Workspace(compiling.out, compiling.build) as workspace:
        workspace.check_finished()
        from glmd.compiler.verify.verify import verify

        log = workspace.nets / "verify.log"
        for verdict in verify(checkpoint, compiling.build, workspace.model, toolchain, log):
            verdicts.append(verdict)
            status.show(f"{len(verdicts)} nets verified, {verdict.net} last")
    status.clear()
    if as_json:
        print_json([vars(verdict) | {"passed": verdict.passed} for verdict in verdicts])
    else:
        rows = [
            (v.net, f"{v.cosine:.6f}", f"{v.error:.2g}", "pass" if v.passed else "FAIL")
            for v in verdicts
        ]
        print_table(("net", "cosine", "max error", ""), rows)
    return EXIT_OK if all(verdict.passed for verdict in verdicts) else EXIT_FAILED
