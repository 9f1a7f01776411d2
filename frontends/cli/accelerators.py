"""Which BM1684X chips this machine has, asked from the driver and never by opening one.

Opening a chip that a daemon uses can wedge it, so only libbmlib's count and the device nodes are
looked at. *Card only*: written from the library's documentation, not tried on a card.
"""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

# Where the installer of libsophon puts the library, beside the loader's own path.
_FOLDERS = (Path("/opt/sophon/libsophon-current/lib"), Path("/usr/lib/sophon"))

_COUNT = """
import ctypes, sys
count = ctypes.c_int(0)
status = ctypes.CDLL(sys.argv[1]).bm_dev_getcount(ctypes.byref(count))
print(count.value if status == 0 else 0)
"""


class Accelerators(NamedTuple):
    """`library`: path of libbmlib, "" where there is none. `problem`: why there are no devices, in
    a sentence, with what to do about it."""

    library: str
    devices: list[int]
    problem: str = ""
    hint: str = ""


def find_accelerators() -> Accelerators:
    library = _library()
    if not library:
        return Accelerators(
            "",
            [],
            "The BM1684X library (libbmlib.so) is not installed.",
            "It comes with the driver of the card; the CPU needs none.",
        )
    # In a process of its own: the library prints, and may end the process it is loaded into.
    try:
        counted = subprocess.run(
            [sys.executable, "-I", "-c", _COUNT, library],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        count = int(counted.stdout.split()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return Accelerators(
            library, [], f"{library} does not count its chips.", "See whether bm-smi works."
        )
    if count == 0:
        return Accelerators(
            library, [], "The driver shows no BM1684X chip.", "See whether bm-smi shows one."
        )
    return Accelerators(library, list(range(count)))


def _library() -> str:
    for folder in _FOLDERS:
        if (folder / "libbmlib.so").exists():
            return str(folder / "libbmlib.so")
    return ctypes.util.find_library("bmlib") or ""
