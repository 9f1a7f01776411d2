"""Bmodels by the vendor's own llm_convert.py, see vendor_convert.py beside this file."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from support.alone import alone
from support.bmodels import CACHE, COMPILING
from support.checkpoints import Shape, write_checkpoint

from glmd.compiler.toolchain.find import find_toolchain
from glmd.packed import Mode

SCRIPT = Path(__file__).with_name("vendor_convert.py")
QUANTISE: dict[Mode, str] = {"f16": "f16", "int8": "w8f16", "int4": "w4f16"}

VENDOR = Shape(layers=2, hidden=128, heads=4, head_dim=32, ffn=192, vocab=320)
VENDOR_SEED = 11
VENDOR_SEQ_LENGTH = 64


def convert(checkpoint: Path, folder: Path, *options: str) -> Path:
    """`options` as llm_convert.py has them: -s LENGTH -q f16|w8f16|w4f16 [--do_sample]."""
    toolchain = find_toolchain()
    done = subprocess.run(
        [toolchain.python, SCRIPT, "-m", checkpoint, "-o", folder, *options],
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


def converted(mode: Mode, *options: str) -> Path:
    """The random checkpoint of shape VENDOR, kept in build/bmodels like those of
    support.bmodels."""
    key = repr((VENDOR, VENDOR_SEED, VENDOR_SEQ_LENGTH, mode, options, SCRIPT.read_text()))
    path = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.bmodel"
    with tempfile.TemporaryDirectory(prefix="glmd-vendor-") as name, alone(COMPILING):
        if not path.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            checkpoint = write_checkpoint(Path(name, "model"), VENDOR, seed=VENDOR_SEED)
            folder = Path(name, "made")
            folder.mkdir()
            fixed = ("-s", str(VENDOR_SEQ_LENGTH), "-q", QUANTISE[mode])
            shutil.move(convert(checkpoint, folder, *fixed, *options), path)
    return path
