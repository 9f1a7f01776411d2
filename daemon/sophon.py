"""Where Sophgo's libraries lie."""

from __future__ import annotations

import os
from pathlib import Path

from glmd import paths
from glmd.errors import StartFailed

SIMULATOR = "libcmodel_bm1684x.so"

# Of the package tpu_mlir in the environment that `glmd toolchain install` makes.
_PACKAGE = "lib/python3.10/site-packages/tpu_mlir"


def simulator_folder(given: Path | None) -> Path:
    """The folder of the simulator: `given`, else that of the TPU-MLIR which TPUC_ROOT names, else
    of the one `glmd toolchain install` installed. Raises StartFailed where there is none."""
    if given is not None:
        roots = [given]
    elif named := os.environ.get("TPUC_ROOT"):
        roots = [Path(named), Path(named) / _PACKAGE]
    else:
        roots = [paths.toolchain_dir() / _PACKAGE]
    for root in roots:
        for folder in (root, root / "lib"):
            if (folder / SIMULATOR).is_file():
                return folder.absolute()
    raise StartFailed(
        f"There is no simulator of the BM1684X in {roots[0]}: no {SIMULATOR}.",
        hint="`glmd toolchain install` installs it; --libsophon DIR names one that is there.",
    )
