"""A packed CPU file, with the tokenizer and the manifest that a bmodel has.

The layouts are the engine's, so that its packer does the work, in a process of its own: the
compiler imports nothing of the daemon.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.manifest import seal
from glmd.errors import CompileFailed
from glmd.packed import PackedModel

_PACKER = [sys.executable, "-I", "-m", "glmd.daemon.engine.pack"]


def pack(
    checkpoint: Checkpoint, build: Build, folder: Path, progress: Callable[[int, int], None]
) -> Path:
    """Write `folder`/NAME_MODE_cpu.glmd. `progress(done, total)` in bytes of the checkpoint. Raises
    CompileFailed."""
    path = folder / f"{folder.name}.glmd"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompileFailed(
            f"The folder {folder} cannot be made: {error.strerror}.", hint="Give another --out."
        ) from error
    command = [*_PACKER, str(checkpoint.folder.absolute()), build.mode, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as packer:
        last: dict[str, Any] = {}
        for line in packer.stdout or ():
            last = json.loads(line)
            if "done" in last:
                progress(last["done"], last["total"])
    if packer.returncode != 0:
        ended = f"The packer of {path} ended with {packer.returncode}."
        raise CompileFailed(last.get("error", ended), hint=last.get("hint", ""))
    _seal(checkpoint, build, path)
    return path


def _seal(checkpoint: Checkpoint, build: Build, path: Path) -> None:
    model, config = PackedModel.open(path), checkpoint.config
    kinds: dict[str, str] = {}
    for tensor in model.tensors():
        part = tensor.name.removeprefix("transformer.").split(".")[0]
        if tensor.rows > 1:
            kinds[{"encoder": "layers", "output_layer": "lm_head"}.get(part, part)] = tensor.kind
    seal(
        path.parent,
        path,
        checkpoint,
        build,
        target="cpu",
        toolchain="",
        quantisation=kinds,
        features={"layers": config.num_layers, "seq_length": config.seq_length},
    )
