"""Small bmodels of the serve recipe, compiled by TPU-MLIR from random weights; each net once, and
kept in build/bmodels under the hash of what it was made from."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from support.bmodels import CACHE
from support.checkpoints import ROOT, Shape, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.deploy import combine, deploy_net
from glmd.compiler.nets import HEADS, Net
from glmd.compiler.serve.export import export_net
from glmd.compiler.serve.nets import serve_nets
from glmd.compiler.toolchain.find import find_toolchain
from glmd.packed import Mode


def serve_bmodel(shape: Shape, seq_length: int, *, mode: Mode = "f16", seed: int = 0) -> Path:
    """Of the same random checkpoint as support.bmodels.build_bmodel makes."""
    build = Build(name="test", mode=mode, seq_length=seq_length, recipe="serve")
    with tempfile.TemporaryDirectory(prefix="glmd-serve-") as name:
        folder = Path(name)
        checkpoint = Checkpoint.open(write_checkpoint(folder / "model", shape, seed=seed))
        nets = serve_nets(checkpoint.config, seq_length)
        keys = [_key(net, build, shape, seed) for net in nets]
        path = CACHE / f"{hashlib.sha256(''.join(keys).encode()).hexdigest()[:24]}.bmodel"
        if not path.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            models = [
                _made(checkpoint, net, build, CACHE / f"{key}.net", folder)
                for net, key in zip(nets, keys, strict=True)
            ]
            combine(find_toolchain(), models, folder / "made.bmodel", folder)
            shutil.move(folder / "made.bmodel", path)
    return path


def _key(net: Net, build: Build, shape: Shape, seed: int) -> str:
    made_of = None if net.kind in HEADS else (shape, seed)  # heads have no weights
    sources = b"".join(file.read_bytes() for file in sorted((ROOT / "compiler/serve").glob("*.py")))
    text = repr((made_of, net, build)).encode() + sources + Path(__file__).read_bytes()
    return hashlib.sha256(text).hexdigest()[:24]


def _made(checkpoint: Checkpoint, net: Net, build: Build, path: Path, folder: Path) -> Path:
    if not path.exists():
        own = folder / net.key
        own.mkdir()
        exported = own / f"{net.name}.mlir"
        export_net(checkpoint, net, build.seq_length, exported, folder / f"{net.family}.npz")
        shutil.move(deploy_net(find_toolchain(), net, build, exported), path)
    return path
