"""What a person may name as a model: a checkpoint folder, a packed file, a bmodel, or the folder in
which `glmd compile` has made one of the two."""

from __future__ import annotations

from pathlib import Path

import msgspec

from glmd.checkpoint.folder import Checkpoint
from glmd.errors import ModelError
from glmd.packed import PackedModel, is_packed

MANIFEST = "manifest.json"
"""What `glmd compile` writes into its folder at last: what the model in it is."""


class _File(msgspec.Struct):
    name: str


class _Manifest(msgspec.Struct):
    file: _File


def located(path: Path) -> Path:
    """The model's file where `path` is the folder of `glmd compile`; any other path as it is.
    Raises ModelError when the manifest in it cannot be read."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        return path
    try:
        return path / msgspec.json.decode(manifest.read_bytes(), type=_Manifest).file.name
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{manifest} does not say which file is the model: {error}.",
            hint="Name the .bmodel or .glmd file itself.",
        ) from error


def open_model(path: Path) -> Checkpoint | PackedModel:
    """Open and check a model without reading its weights; either kind gives `config`,
    `tokenizer()` and `nbytes`. Raises ModelError."""
    if path.is_dir():
        return Checkpoint.open(path)
    if is_packed(path):
        return PackedModel.open(path)
    raise ModelError(
        f"{path} is {'no model that glmd knows' if path.exists() else 'not there'}.",
        hint="Give the folder of a ChatGLM3 checkpoint, a packed file or a bmodel.",
    )
