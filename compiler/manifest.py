"""What a compiled model is and what it was made from, as JSON beside it, with its tokenizer."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

import glmd
from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.source import MANIFEST
from glmd.compiler.build import Build
from glmd.compiler.nets import Net
from glmd.packed import Mode

# Copied as they are; only the first must be there.
_COMPANIONS = ("tokenizer.model", "tokenizer_config.json", "config.json")

_CHUNK = 8 << 20


class File(msgspec.Struct, frozen=True):
    name: str
    nbytes: int
    sha256: str


class PortFacts(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


class NetFacts(msgspec.Struct, frozen=True):
    """One stage of a net. `rows`: of what it gives. `seconds`: a launch as the compiler estimates
    it; None where it does not."""

    name: str
    rows: int
    seconds: float | None
    inputs: list[PortFacts]
    outputs: list[PortFacts]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The same input gives the same bytes: no dates, no paths.

    `recipe`, `nets` and `toolchain` are empty for a packed file. `quantisation`: part of the model
    -> how its weights are stored. `features`: what a host can do with it.
    """

    file: File
    target: str
    recipe: str
    mode: Mode
    quantisation: dict[str, str]
    features: dict[str, Any]
    model: ModelConfig
    nets: list[NetFacts]
    source: str
    glmd: str
    toolchain: str


def seal(
    folder: Path,
    model: Path,
    checkpoint: Checkpoint,
    build: Build,
    *,
    target: str,
    toolchain: str,
    quantisation: dict[str, str],
    features: dict[str, Any],
    nets: Mapping[Net, float | None] | None = None,
) -> None:
    """Put tokenizer and configuration beside `model`, and the manifest last: where it is, the
    folder is whole. `nets`: of a bmodel, with the seconds that each takes. Raises ModelError where
    the checkpoint has no tokenizer, and OSError."""
    checkpoint.tokenizer()
    for name in _COMPANIONS:
        if (checkpoint.folder / name).is_file():
            shutil.copyfile(checkpoint.folder / name, folder / name)
    manifest = Manifest(
        file=File(model.name, model.stat().st_size, _sha256(model)),
        target=target,
        recipe=build.recipe if nets else "",
        mode=build.mode,
        quantisation=quantisation,
        features=features,
        model=checkpoint.config,
        nets=[_facts(net, seconds) for net, seconds in (nets or {}).items()],
        source=checkpoint.folder.name,
        glmd=glmd.__version__,
        toolchain=toolchain,
    )
    part = folder / f"{MANIFEST}.part"
    content = msgspec.to_builtins(manifest)
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / MANIFEST)


def _facts(net: Net, seconds: float | None) -> NetFacts:
    ports = (
        [PortFacts(port.name, port.dtype, port.shape) for port in side]
        for side in (net.inputs, net.outputs)
    )
    return NetFacts(net.name, net.outputs[0].shape[0], seconds, *ports)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
