"""Bmodels by the vendor's own llm_convert.py, see vendor_convert.py beside this file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from glmd.compiler.toolchain.find import find_toolchain


def convert(checkpoint: Path, folder: Path, *options: str) -> Path:
    """`options` as llm_convert.py has them: -s LENGTH -q f16|w8f16|w4f16 [--do_sample]."""
    toolchain = find_toolchain()
    script = Path(__file__).with_name("vendor_convert.py")
    done = subprocess.run(
        [toolchain.python, script, "-m", checkpoint, "-o", folder, *options],
        env=toolchain.environment(),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (model,) = folder.glob("*.bmodel")
    return model
