"""Small bmodels in every form that is met in the wild, compiled by TPU-MLIR from random weights.

A form changes a few nets of the seed recipe; each net is compiled once, and kept in build/bmodels
under the hash of everything it was made from.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from support.alone import alone
from support.checkpoints import ROOT, Shape, write_checkpoint

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.deploy import combine, deploy_options
from glmd.compiler.nets import HEADS, Net, Port
from glmd.compiler.seed.nets import seed_nets
from glmd.compiler.toolchain.find import find_toolchain
from glmd.compiler.toolchain.run import run_tool

if TYPE_CHECKING:
    from torch import nn

CACHE = ROOT / "build" / "bmodels"
COMPILING = "bmodels"  # one process fills the cache, with all cores, and the others find it there

# The smallest that fills the chip's lanes somewhere: 2 layers, 32 positions.
TINY = Shape(layers=2, hidden=128, heads=4, head_dim=32, ffn=192, vocab=320)
SEQ_LENGTH = 32
CANDIDATES = 50

# What else a model may be like.
SHAPES = {
    "many-heads": Shape(layers=2, hidden=128, heads=8, head_dim=32, ffn=160, vocab=352),
    "one-group": Shape(layers=3, hidden=96, heads=2, kv_heads=1, head_dim=64, ffn=128, vocab=192),
    "32k": Shape(layers=2, hidden=192, heads=6, head_dim=32, ffn=256, vocab=256, rope_ratio=50.0),
}

T = TypeVar("T")
Made = TypeVar("Made")

_EXPORTING = threading.Lock()  # torch does one thing at a time


@dataclass(frozen=True)
class Form:
    """What a bmodel is like. `rows`: decode nets give the new row instead of the shifted cache.
    `batch_first`: hidden states are [1,S,H]. `head`: "logits" with both heads, "token" for an
    lm_head that chooses, "bare" without heads, "sample" with the vendor's later sampling head.
    `old`: other names, one embedding for both lengths, masks of 0 and 1 in f32. `addr_mode`: where
    inputs and outputs lie."""

    mode: str = "f16"
    rows: bool = False
    batch_first: bool = False
    head: str = "logits"
    old: bool = False
    addr_mode: str = "basic"
    seq_length: int = SEQ_LENGTH


def build_bmodel(shape: Shape, form: Form, seed: int = 0) -> Path:
    """The bmodel of a random checkpoint (support.checkpoints) in some form."""
    build = Build(
        name="test",
        mode=form.mode,  # type: ignore[arg-type]
        seq_length=form.seq_length,
        recipe="seed",
    )
    with tempfile.TemporaryDirectory(prefix="glmd-bmodel-") as name, alone(COMPILING):
        folder = Path(name)
        checkpoint = Checkpoint.open(write_checkpoint(folder / "model", shape, seed=seed))
        nets = [_Compiled(checkpoint, net, build, form) for net in _nets(checkpoint, form)]
        key = hashlib.sha256("".join(net.key(shape, seed) for net in nets).encode()).hexdigest()
        path = CACHE / f"{key[:24]}.bmodel"
        if not path.exists():
            CACHE.mkdir(parents=True, exist_ok=True)
            made = folder / "made.bmodel"
            models = at_once(lambda net: net.made(shape, seed), nets)
            combine(find_toolchain(), models, made, folder)
            shutil.move(made, path)
    return path


def at_once(work: Callable[[T], Made], items: Sequence[T]) -> list[Made]:
    """`work` for each, as many as there are cores: what they wait for are other processes."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(work, items))


@dataclass(frozen=True)
class _Compiled:
    """One net of a form, made or taken from the cache."""

    checkpoint: Checkpoint
    net: Net
    build: Build
    form: Form

    def key(self, shape: Shape, seed: int) -> str:
        """Most nets are in several forms: what a form changes is in the ports and the options."""
        source = Path(__file__).read_text()
        made_of = None if self.net.kind in HEADS else (shape, seed)  # those have no weights
        made_from = (made_of, self.net, self.build.seq_length, self._options(), _sources(), source)
        return hashlib.sha256(repr(made_from).encode()).hexdigest()[:24]

    def made(self, shape: Shape, seed: int) -> Path:
        path = CACHE / f"{self.key(shape, seed)}.net"
        if not path.exists():
            with tempfile.TemporaryDirectory(prefix="glmd-net-") as folder:
                self._compile(Path(folder))
                shutil.move(Path(folder, "net.bmodel"), path)
        return path

    def _compile(self, folder: Path) -> None:
        toolchain = find_toolchain()
        with _EXPORTING:
            _export(self.net, self._module(), folder / "net.onnx")
        log = folder / "log"
        name = ("--model_name", self.net.name)
        commands = (
            [*toolchain.transform(), *name, "--model_def", "net.onnx", "--mlir", "net.mlir"],
            [
                *toolchain.deploy(),
                *("--mlir", "net.mlir", "--chip", "bm1684x", "--model", "net.bmodel"),
                *self._options(),
            ],
        )
        for command in commands:
            run_tool(toolchain, command, folder=folder, log=log, step="test", net=self.net.name)

    def _options(self) -> list[str]:
        options = deploy_options(self.net, self.build)
        if self.form.old and "--quant_input" in options:  # a mask of flags stays in f32
            options = [option for option in options if option != "--quant_input"]
            f16 = [str(i) for i, port in enumerate(self.net.inputs, 1) if port.dtype == "f16"]
            options += ["--quant_input", "--quant_input_list", ",".join(f16)] if f16 else []
        return ["--addr_mode", self.form.addr_mode, *options]

    def _module(self) -> nn.Module:
        from support.bmodel_modules import form_module

        return form_module(self.checkpoint, self.net, self.form)


def _sources() -> str:
    files = sorted((ROOT / "compiler" / "seed").glob("*.py"))
    files.append(ROOT / "tests" / "support" / "bmodel_modules.py")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _nets(checkpoint: Checkpoint, form: Form) -> list[Net]:
    """The nets of a form: those of the seed recipe, changed."""
    nets = seed_nets(checkpoint.config, form.seq_length)
    if form.head != "logits":
        nets = [net for net in nets if net.kind not in ("greedy_head", "penalty_sample_head")]
    if form.head == "sample":
        nets += seed_nets(checkpoint.config, form.seq_length)[-2:]
        nets[-1] = _sample_head(nets[-1])
    changes: list[Callable[[Net], Net]] = []
    if form.rows:
        changes.append(_new_row)
    if form.batch_first:
        changes.append(_batch_first)
    if form.head == "token":
        changes.append(_token_head)
    if form.old:
        changes.append(_old)
    for change in changes:
        nets = [change(net) for net in nets]
    return nets


def _new_row(net: Net) -> Net:
    if net.kind != "block_cache":
        return net
    row = [replace(port, shape=(1, *port.shape[1:])) for port in net.outputs[1:]]
    return replace(net, outputs=(net.outputs[0], *row))


def _batch_first(net: Net) -> Net:
    def turned(port: Port) -> Port:
        if port.name in ("input_embed", "input_states", "hidden_states") and len(port.shape) == 3:
            s, one, hidden = port.shape
            return replace(port, shape=(one, s, hidden))
        return port

    return replace(
        net, inputs=tuple(map(turned, net.inputs)), outputs=tuple(map(turned, net.outputs))
    )


def _token_head(net: Net) -> Net:
    if net.kind != "lm_head":
        return net
    return replace(net, outputs=(Port("token_id", "i32", (1, 1)),))


def _sample_head(net: Net) -> Net:
    by_name = {port.name: port for port in net.inputs}
    names = ("m_logits", "input_ids", "penalty", "temperature", "top_p")
    logits, ids, penalty, temperature, top_p = (by_name[name] for name in names)
    top_k = Port("top_k", "i32", (1,))
    return replace(
        net, name="sample_head", inputs=(logits, ids, penalty, temperature, top_k, top_p)
    )


def _old(net: Net) -> Net:
    if net.kind == "embedding":
        return replace(net, name="embedding")
    if net.kind not in ("block", "block_cache"):
        return net
    mask = replace(net.inputs[2], dtype="f32")
    inputs = (*net.inputs[:2], mask, *net.inputs[3:])
    return replace(net, name=f"glm_{net.name}", inputs=inputs)


def _export(net: Net, module: nn.Module, path: Path) -> None:
    import torch

    def example(port: Port) -> Any:
        if port.dtype == "i32":
            return torch.zeros(port.shape, dtype=torch.int64)
        return torch.ones(port.shape)

    examples: Sequence[Any] = [example(port) for port in net.inputs]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(examples),
            str(path),
            input_names=[port.name for port in net.inputs],
            output_names=[port.name for port in net.outputs],
            opset_version=15,
            dynamo=False,
        )
