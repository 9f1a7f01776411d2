"""Which toolchain to use: the one that is named, the one that was installed, or the one on PATH."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from glmd import paths
from glmd.compiler.toolchain.toolchain import TRANSFORM, Toolchain
from glmd.errors import CompileFailed

PYTHON = "python3.10"

# In a virtual environment.
PACKAGE = Path("lib", PYTHON, "site-packages", "tpu_mlir")

# Made when an installation is whole.
MARKER = "glmd-installed"


def find_toolchain(given: Path | None = None) -> Toolchain:
    """`given`, else TPUC_ROOT, else what `glmd toolchain install` installed, else the tools on
    PATH. Raises CompileFailed where there is none, or where the one that was found does not run."""
    root = find_root(given)
    if root is None:
        raise CompileFailed(
            "TPU-MLIR, the compiler for BM1684X, was not found.",
            hint="`glmd toolchain install` installs it; one that is there already is given with "
            "--tpu-mlir DIR or TPUC_ROOT.",
        )
    return Toolchain.open(root, _python_of(root))


def find_root(given: Path | None = None) -> Path | None:
    """The TPUC_ROOT of that toolchain, without running it."""
    if given is not None:
        return _named(given, "--tpu-mlir")
    if named := os.environ.get("TPUC_ROOT"):
        return _named(Path(named), "TPUC_ROOT")
    installed = installed_root()
    return installed if installed is not None else _on_path()


def installed_root() -> Path | None:
    """That of what `glmd toolchain install` installed, if it came to its end."""
    folder = paths.toolchain_dir()
    return _root_in(folder) if (folder / MARKER).exists() else None


def _named(folder: Path, by: str) -> Path:
    root = _root_in(folder.absolute())
    if root is None:
        raise CompileFailed(
            f"{by} names {folder}, and there is no TPU-MLIR in it: no {TRANSFORM}.",
            hint="Name the folder that the vendor calls TPUC_ROOT, or the virtual environment "
            "that tpu_mlir is installed in.",
        )
    return root


def _root_in(folder: Path) -> Path | None:
    """The root itself, or the environment around it."""
    for root in (folder, folder / "tpu_mlir", folder / PACKAGE):
        if (root / TRANSFORM).is_file():
            return root
    return None


def _on_path() -> Path | None:
    """From the tools themselves, or from the scripts that pip made for them."""
    tool = shutil.which(TRANSFORM.name)
    if tool is None:
        return None
    resolved = Path(tool).resolve()
    return _root_in(resolved.parents[2]) or _root_in(resolved.parents[1])


def _python_of(root: Path) -> Path:
    """The interpreter of the environment that holds `root`, else the one on PATH."""
    for folder in root.parents:
        if (folder / "bin" / PYTHON).exists() and root == folder / PACKAGE:
            return folder / "bin" / PYTHON
    for name in (PYTHON, "python3"):
        if found := shutil.which(name):
            return Path(found)
    raise CompileFailed(
        f"The TPU-MLIR at {root} needs Python 3.10, and there is none on PATH.",
        hint="Install Python 3.10, or let `glmd toolchain install` look for one.",
    )
