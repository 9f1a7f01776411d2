"""Small bmodels of the serve recipe, compiled by TPU-MLIR from random weights; each net once, and
kept in build/bmodels under the hash of what it was made from."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from support.alone import alone
from support.bmodels import CACHE, COMPILING, at_once
from support.checkpoints import ROOT, Shape, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.deploy import combine, deploy_net, quantise
from glmd.compiler.nets import HEADS, Net
from glmd.compiler.serve.export import export_net
from glmd.compiler.serve.nets import BATCHES, serve_nets
from glmd.compiler.toolchain.find import find_toolchain
from glmd.packed import Mode


class _Missing(NamedTuple):
    net: Net
    build: Build
    exported: Path
    model: Path  # where it goes


def serve_bmodel(
    shape: Shape,
    seq_length: int,
    *,
    mode: Mode = "f16",
    seed: int = 0,
    batches: Collection[int] = BATCHES,
) -> Path:
    """Of the same random checkpoint as support.bmodels.build_bmodel makes. `batches`: of what the
    recipe computes for so many conversations at once, as much as a test needs."""
    build = Build(name="test", mode=mode, seq_length=seq_length, recipe="serve")
    with tempfile.TemporaryDirectory(prefix="glmd-serve-") as name, alone(COMPILING):
        folder = Path(name)
        checkpoint = Checkpoint.open(write_checkpoint(folder / "model", shape, seed=seed))
        left_out = set(BATCHES).difference(batches)
        every = serve_nets(checkpoint.config, seq_length)
        nets = [net for net in every if net.rows not in left_out]
        models = [CACHE / f"{_key(net, build, shape, seed)}.net" for net in nets]
        names = "".join(model.name for model in models)
        path = CACHE / f"{hashlib.sha256(names.encode()).hexdigest()[:24]}.bmodel"
        if not path.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            missing = [
                _Missing(net, build, _export(checkpoint, net, build, folder), model)
                for net, model in zip(nets, models, strict=True)
                if not model.exists()
            ]
            at_once(_compile, missing)
            combine(find_toolchain(), models, folder / "made.bmodel", folder)
            shutil.move(folder / "made.bmodel", path)
    return path


def _key(net: Net, build: Build, shape: Shape, seed: int) -> str:
    """Heads have no weights, and are as embeddings computed alike in all modes."""
    made_of = None if net.kind in HEADS else (shape, seed)
    sources = b"".join(file.read_bytes() for file in sorted((ROOT / "compiler/serve").glob("*.py")))
    how = (quantise(net, build.mode), build.seq_length, build.group_size)
    text = repr((made_of, net, how)).encode() + sources + Path(__file__).read_bytes()
    return hashlib.sha256(text).hexdigest()[:24]


def _export(checkpoint: Checkpoint, net: Net, build: Build, folder: Path) -> Path:
    own = folder / net.key
    own.mkdir()
    exported = own / f"{net.name}.mlir"
    export_net(checkpoint, net, build.seq_length, exported, folder / f"{net.family}.npz")
    return exported


def _compile(missing: _Missing) -> None:
    made = deploy_net(find_toolchain(), missing.net, missing.build, missing.exported)
    shutil.move(made, missing.model)
