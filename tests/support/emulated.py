"""The Python of the SoC boxes under qemu-user, as `make aarch64-python` unpacks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNPACKED = ROOT / "build" / "aarch64-python"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def environment(folder: Path, wheel: Path) -> Path:
    """The interpreter of a new environment with the wheel in it and what that depends on."""
    site = folder / "lib" / VERSION / "site-packages"
    shutil.unpack_archive(wheel, site, "zip")
    (site / "dependencies.pth").write_text(str(UNPACKED / "dependencies"))
    root = UNPACKED / "root"
    (folder / "pyvenv.cfg").write_text(f"home = {root}/usr/bin\n")
    python = folder / "bin" / "python"
    python.parent.mkdir()
    # Told this script's name as its own, it starts its children through it as well.
    python.write_text(
        f'#!/bin/sh\nexec qemu-aarch64 -L {root} -0 "$0" {root}/usr/bin/{VERSION} "$@"\n'
    )
    python.chmod(0o755)
    return python


def run(python: Path, *arguments: str) -> str:
    """What `python -I` with these arguments prints. It runs in the environment's own folder, off
    the checkout."""
    command = [str(python), "-I", *arguments]
    done = subprocess.run(
        command, cwd=python.parent, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
