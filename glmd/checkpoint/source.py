"""What a person may name as a model: a checkpoint folder or a packed file."""

from __future__ import annotations

from pathlib import Path

from glmd.checkpoint.folder import Checkpoint
from glmd.errors import ModelError
from glmd.packed import PackedModel, is_packed


def open_model(path: Path) -> Checkpoint | PackedModel:
    """Open and check a model without reading its weights; either kind gives `config`,
    `tokenizer()` and `nbytes`. Raises ModelError."""
    if path.is_dir():
        return Checkpoint.open(path)
    if is_packed(path):
        return PackedModel.open(path)
    raise ModelError(
        f"{path} is {'no model that glmd knows' if path.exists() else 'not there'}.",
        hint="Give the folder of a ChatGLM3 checkpoint or a packed file.",
    )
