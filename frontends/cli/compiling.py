"""What the compile commands share: their options, and a pipeline made from them."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import click

from glmd.frontends.cli.terminal import note

if TYPE_CHECKING:
    from glmd.checkpoint.folder import Checkpoint
    from glmd.compiler.build import Build
    from glmd.compiler.pipeline import Pipeline
    from glmd.compiler.toolchain.toolchain import Toolchain

F = TypeVar("F", bound=Callable[..., Any])

MODES = ("f16", "int8", "int4")


class Compiling(NamedTuple):
    """What a command line asks for; `jobs` 0: as many as there are processors."""

    checkpoint: Path
    build: Build
    jobs: int
    out: Path
    tpu_mlir: Path | None

    def open(self) -> Checkpoint:
        """The checkpoint, if what is asked for can be made of it."""
        from glmd.checkpoint.folder import Checkpoint
        from glmd.compiler.check import check_build

        checkpoint = Checkpoint.open(self.checkpoint)
        check_build(checkpoint, self.build)
        return checkpoint

    def check_export(self) -> None:
        """Before a folder is claimed, which may forget what was made in it with other options."""
        from glmd.compiler.recipes import check_export

        check_export(self.build)

    def toolchain(self) -> Toolchain:
        from glmd.compiler.toolchain.find import find_toolchain

        return find_toolchain(self.tpu_mlir)


def compile_options(function: F) -> F:
    """The checkpoint and the options of every step, given to the command as one `compiling`."""

    @click.argument("checkpoint", type=click.Path(path_type=Path))
    @click.option(
        "--recipe",
        type=click.Choice(["serve", "seed"]),
        default="serve",
        show_default=True,
        help="Which nets: serve answers several at once; seed has those of the vendor's demos.",
    )
    @click.option("--mode", type=click.Choice(MODES), default="f16", show_default=True)
    @click.option(
        "--num-device",
        type=click.Choice(["1", "2", "4", "8"]),
        default="1",
        show_default=True,
        help="Chips that share the model; several with --recipe seed.",
    )
    @click.option(
        "--seq-length",
        type=click.IntRange(2),
        default=512,
        show_default=True,
        help="Tokens that prompt and answer have together.",
    )
    @click.option("--name", default="chatglm3-6b", show_default=True, callback=_check_name)
    @click.option(
        "--group-size",
        type=click.IntRange(1),
        default=64,
        show_default=True,
        help="Weights that share a scale, in int8 and int4.",
    )
    @click.option(
        "--jobs",
        type=click.IntRange(0),
        default=0,
        help="Nets at once, as far as memory allows; 0: one for each processor.",
    )
    @click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=Path(),
        help="Where the folder NAME_MODE_Ndev is made. [default: here]",
    )
    @click.option(
        "--tpu-mlir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The compiler to use. [default: TPUC_ROOT, else the installed one, else PATH]",
    )
    @functools.wraps(function)
    def command(checkpoint: Path, jobs: int, out: Path, tpu_mlir: Path | None, **rest: Any) -> Any:
        from glmd.compiler.build import Build

        names = ("recipe", "mode", "seq_length", "name", "group_size")
        build = Build(
            num_device=int(rest.pop("num_device")), **{name: rest.pop(name) for name in names}
        )
        return function(compiling=Compiling(checkpoint, build, jobs, out, tpu_mlir), **rest)

    return command  # type: ignore[return-value]


def _check_name(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value or value in (".", "..") or "/" in value:
        raise click.BadParameter("a name is the beginning of a file's name.")
    return value


def refuse_options(what: str, *names: str) -> None:
    """Raises UsageError where one of them stands on the command line, which `what` has no use
    for."""
    ctx = click.get_current_context()
    for name in names:
        if ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} means nothing for {what}.")


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


@contextmanager
def pipeline(
    compiling: Compiling, checkpoint: Checkpoint, toolchain: Toolchain | None
) -> Iterator[Pipeline]:
    """The pipeline of a command, its folder taken, its progress shown. An export has no
    toolchain."""
    from glmd.compiler.identity import identity
    from glmd.compiler.needs import default_jobs
    from glmd.compiler.pipeline import Pipeline
    from glmd.compiler.workspace import Workspace
    from glmd.frontends.cli.compile_bar import CompileBar

    # The tools are in sessions of their own: whoever ends this process must end them as well.
    signal.signal(signal.SIGTERM, _terminated)
    with Workspace(compiling.out, compiling.build) as workspace, CompileBar() as bar:
        if differ := workspace.claim(identity(checkpoint, compiling.build, toolchain)):
            note(f"Begins anew in {workspace.folder}: made before with other {', '.join(differ)}.")
        jobs = compiling.jobs or default_jobs()
        try:
            yield Pipeline(checkpoint, compiling.build, workspace, bar, jobs)
        except KeyboardInterrupt:
            note("Stopped. What is done stays done: the same command goes on from here.")
            raise
