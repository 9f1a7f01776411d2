"""What decides the bytes of a bmodel: nets that were made from something else are made again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

import glmd
from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.toolchain.toolchain import Toolchain


def identity(checkpoint: Checkpoint, build: Build, toolchain: Toolchain | None) -> dict[str, Any]:
    """By names that a person understands; an export has no toolchain. Weights are known by their
    files' sizes and times: to read them all would take as long as some compiles."""
    facts: dict[str, Any] = {
        "checkpoint": {
            "config": msgspec.to_builtins(checkpoint.config),
            "files": {path.name: _seen(path) for path in sorted(_files(checkpoint))},
        },
        "options": asdict(build),
        "glmd": glmd.__version__,
    }
    return facts if toolchain is None else facts | {"TPU-MLIR": toolchain.version}


def _files(checkpoint: Checkpoint) -> set[Path]:
    return {tensor.path for tensor in checkpoint.tensors.values()}


def _seen(path: Path) -> list[int]:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns]
