"""Lines as a person types them, run by a shell that finds this environment's `glmd`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PATIENCE = 150.0  # seconds, for a machine that is busy with other things


def shell(
    script: str, *, patience: float = PATIENCE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script up to its first failing command. Its folder has no meaning for Python: the
    repository's root would shadow the installed package."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd="/",
        env={**os.environ, "PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )
