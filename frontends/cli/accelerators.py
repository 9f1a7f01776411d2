"""Which BM1684X chips this machine has, and what the driver says of those that nobody uses.

Opening a chip that a daemon uses can wedge it, so finding them asks for libbmlib's count alone. All
is asked by processes of their own: the library prints, and may end the process it is loaded into.
*Card only*: tried with a stand-in for the library, not on a card.
"""

from __future__ import annotations

import ctypes.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Where the installer of libsophon puts the library, beside the loader's own path.
_FOLDERS = tuple(map(Path, ("/opt/sophon/libsophon-current/lib", "/usr/lib/sophon", "/system/lib")))

_PATIENCE = 10  # seconds for a call

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


def find_accelerators(libsophon: str = "") -> Accelerators:
    """`libsophon`: the folder of the library, "" for where the installers put it."""
    library = _library([Path(libsophon), Path(libsophon) / "lib"] if libsophon else _FOLDERS)
    if not library and libsophon:
        return Accelerators(
            "",
            [],
            f"There is no libbmlib.so in {libsophon}.",
            "Name the folder that has it, or leave --libsophon out.",
        )
    if not library:
        return Accelerators(
            "",
            [],
            "The BM1684X library (libbmlib.so) is not installed.",
            "It comes with the driver of the card; the CPU needs none.",
        )
    try:
        counted = subprocess.run(
            [sys.executable, "-I", "-c", _COUNT, library],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
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


def ask_chips(devices: list[int], libsophon: str = "") -> dict[int, dict[str, Any]]:
    """What the driver says of each of `devices`, in fields of DeviceStatus, or as `problem` why it
    says nothing. Opens them: not for chips in use."""
    command = [sys.executable, "-I", "-m", "glmd.daemon.engine.chips", libsophon]
    with subprocess.Popen(
        [*command, *map(str, devices)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            answers = child.communicate(timeout=_PATIENCE * len(devices))[0]
            end = f"ended the process that asked it, with status {child.returncode}"
        except subprocess.TimeoutExpired:
            child.kill()
            answers = child.communicate()[0]
            end = f"did not answer in {_PATIENCE * len(devices)} seconds"
    asked = {answer["device"]: answer for answer in map(json.loads, answers.splitlines())}
    # One that does not answer keeps those behind it from being asked.
    silent = {"problem": f"The library {end}. See whether bm-smi works."}
    return {device: asked.get(device, silent) for device in devices}


def _library(folders: Sequence[Path]) -> str:
    # As the engine looks for it: a system without headers has no name without a version.
    for folder in folders:
        for name in ("libbmlib.so.0", "libbmlib.so"):
            if (folder / name).exists():
                return str(folder / name)
    return "" if folders is not _FOLDERS else ctypes.util.find_library("bmlib") or ""
