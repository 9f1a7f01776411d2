"""`glmd compile` on small checkpoints, as a process of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from support import cli
from support.checkpoints import Shape

# Compiles in seconds: the vendor's tools take one each to start, and of the seed recipe there are
# seven nets.
TOY = Shape(layers=1, hidden=64, heads=2, kv_heads=1, head_dim=32, ffn=128)
TOY_LENGTH = 16
TOY_NETS = 7

PATIENCE = 500.0  # seconds, for a machine that is busy with other things


def compile_words(
    checkpoint: Path, out: Path, *options: str, length: int = TOY_LENGTH
) -> list[str]:
    return [
        str(checkpoint),
        "--seq-length",
        str(length),
        "--name",
        "toy",
        "--out",
        str(out),
        *options,
    ]


def seed_words(checkpoint: Path, out: Path, *options: str, length: int = TOY_LENGTH) -> list[str]:
    """The same for the vendor's nets, which TOY is made for."""
    return compile_words(checkpoint, out, "--recipe", "seed", *options, length=length)


def glmd_compile(*words: str) -> cli.Told:
    return cli.run("compile", *words, patience=PATIENCE)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_manifest(model: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((model.parent / "manifest.json").read_bytes())
    return manifest
