"""Headers of .safetensors files.

The format (8 bytes of header length, JSON, data) is checked by the safetensors package; offsets are
read here, because the package gives numpy no bfloat16 and no mapped arrays.
"""

from __future__ import annotations

import json
from pathlib import Path

import safetensors

from glmd.checkpoint.stored import StoredTensor, open_failed, refuse_lfs_pointer, row_major
from glmd.errors import ModelError


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of a file. Raises ModelError if it is truncated or not a safetensors file."""
    refuse_lfs_pointer(path)
    try:
        with safetensors.safe_open(path, framework="np"):
            pass  # opening parses the header and compares it with the size of the file
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except OSError as error:
        raise open_failed(path, error) from error
    except safetensors.SafetensorError as error:
        raise ModelError(
            f"{path} is not a whole safetensors file ({error}).",
            hint="It was probably cut short: download it again.",
        ) from error

    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            shape = tuple(entry["shape"])
            start = 8 + length + entry["data_offsets"][0]
            tensors[name] = StoredTensor(path, entry["dtype"], shape, row_major(shape), start)
    return tensors
