"""Taking date and chance out of a bmodel, so that the same input gives the same file.

A bmodel is a header of 64 bytes and a flatbuffer whose root table Model has, as field 2, the time
at which it was made, in the words of ctime(3). Source: tpu-mlir's bmodel.fbs and bmodel.hpp.
"""

from __future__ import annotations

import mmap
import re
import struct
from pathlib import Path

_HEADER = 64
_TIME_FIELD = 2

# In the program of a TopK: three bytes behind a flag that the compiler leaves as they were in
# memory, zero most of the time, and before the number of rows. Found by compiling the same net many
# times.
_PADDING = re.compile(rb"\x01\x00\xff\x01\x02\x22\x01(...)[\x01-\x08]\x00\x00\x00", re.DOTALL)

_NO_TIME = b"Thu Jan  1 00:00:00 1970\n"


def remove_time(path: Path) -> None:
    """Put the beginning of 1970 in its place; nothing where the file names no time of that form.
    Raises OSError where the disk does."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        root = _HEADER + struct.unpack_from("<I", data, _HEADER)[0]
        table = root - struct.unpack_from("<i", data, root)[0]
        entry = 4 + 2 * _TIME_FIELD
        if struct.unpack_from("<H", data, table)[0] < entry + 2:
            return
        field = struct.unpack_from("<H", data, table + entry)[0]
        if field == 0:
            return
        text = root + field
        text += struct.unpack_from("<I", data, text)[0]
        length = struct.unpack_from("<I", data, text)[0]
        if length == len(_NO_TIME):
            data[text + 4 : text + 4 + length] = _NO_TIME


def clear_padding(path: Path) -> None:
    """Put zeros where the compiler put nothing."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        for found in [match.start(1) for match in _PADDING.finditer(data)]:
            data[found : found + 3] = bytes(3)
