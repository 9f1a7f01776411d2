"""The shipped model as bmodels, compiled by `glmd compile` once and kept."""

from __future__ import annotations

from pathlib import Path

from support import cli
from support.alone import alone
from support.bmodels import CACHE, COMPILING
from support.checkpoints import NANO, ROOT

PATIENCE = 1500.0  # seconds, for a machine that is busy with other things

SERVE_LENGTH, SEED_LENGTH = 64, 32


def nano_serve() -> Path:
    """What examples/demo_bm1684x.sh serves."""
    out = ROOT / "build" / "demo-bm1684x"
    return _compiled("--name", "glm3-nano", "--seq-length", str(SERVE_LENGTH), "--out", str(out))


def nano_seed() -> Path:
    words = ("--name", "glm3-nano-seed", "--recipe", "seed", "--seq-length", str(SEED_LENGTH))
    return _compiled(*words, "--out", str(CACHE))


def _compiled(*words: str) -> Path:
    with alone(COMPILING):
        told = cli.run("compile", str(NANO), *words, patience=PATIENCE)
    assert told.returncode == 0, told.stderr
    return Path(told.stdout.strip())
