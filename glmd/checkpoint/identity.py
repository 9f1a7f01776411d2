"""Which files a model is, told apart from others that have taken their names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from glmd.errors import ModelError

# Of a folder, what a checkpoint is read from; its README may change.
SUFFIXES = {".json", ".model", ".safetensors", ".bin"}


def model_files(model: Path) -> list[Path]:
    """The files of a checkpoint folder, or the one that a model is. Raises OSError."""
    if not model.is_dir():
        return [model]
    return sorted(file for file in model.iterdir() if file.suffix in SUFFIXES and file.is_file())


def identity(model: Path) -> str:
    """16 hex digits: others as soon as a file was replaced, written to, added or taken away.

    From names, inodes, sizes and times: the weights are not read. Raises ModelError where the files
    cannot be looked at.
    """
    digest = hashlib.sha256()
    try:
        for file in model_files(model):
            found = file.stat()
            facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            digest.update(f"{file.name}/{facts}\n".encode())
    except OSError as error:
        raise ModelError(f"{model} cannot be looked at: {error.strerror}.") from None
    return digest.hexdigest()[:16]
