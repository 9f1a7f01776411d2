"""Bmodels of the vendor's own making: read as its model_tool reads them, and recognised."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.bmodel_files import write_bmodel
from support.bmodel_nets import Glm
from support.checkpoints import Shape, write_checkpoint
from support.vendor import convert

from glmd.bmodel.features import read_features
from glmd.bmodel.reader import read_bmodel
from glmd.compiler.toolchain.find import find_toolchain

pytestmark = [pytest.mark.needs("tpu_mlir"), pytest.mark.timeout(300)]

SHAPE = Shape(layers=1, hidden=128, heads=2, kv_heads=2, head_dim=64, ffn=256)


def vendor_info(path: Path) -> str:
    toolchain = find_toolchain()
    done = subprocess.run(
        [*toolchain.model_tool(), "--info", path],
        env=toolchain.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("vendor") / "toy", SHAPE)


@pytest.mark.parametrize(
    ("options", "output", "heads"),
    [
        (("-q", "w4f16"), "token", ()),
        (("-q", "f16", "--do_sample"), "logits", ("greedy_head", "sample_head")),
    ],
)
def test_what_llm_convert_makes(
    checkpoint: Path, tmp_path: Path, options: tuple[str, ...], output: str, heads: tuple[str, ...]
) -> None:
    path = convert(checkpoint, tmp_path, "-s", "32", *options)
    bmodel = read_bmodel(path)
    features = read_features(bmodel)
    assert (features.layers, features.seq_length, features.prefill) == (1, 32, (32,))
    assert (features.hidden_layout, features.kv_form) == ("[1,S,H]", "shifted")
    assert (features.output, features.heads, features.others) == (output, heads, ())
    assert (features.addr_mode, features.prefill_addr_mode) == ("io_alone", "basic")
    assert features.vocab == SHAPE.vocab
    assert features.width.hidden == SHAPE.hidden
    assert (features.width.kv_heads, features.width.head_dim) == (2, 64)
    assert features.quantisation is not None
    assert features.quantisation.mode == ("int4" if "w4f16" in options else "f16")

    info = vendor_info(path).replace("max:", "")  # before each size of a dynamic net
    assert re.findall(r"net \d+: \[(\w+)\]", info) == [net.name for net in bmodel.nets]
    for net in bmodel.nets:
        for tensor in (*net.stages[0].inputs, *net.stages[0].outputs):
            assert f"{tensor.name}, {list(tensor.shape)}, " in info
    weights, instructions = map(
        int,
        re.search(r"weight: (\d+), instruct: (\d+)", info).groups(),  # type: ignore[union-attr]
    )
    assert bmodel.memory().weights == weights
    assert bmodel.memory().instructions == instructions


def test_the_vendor_reads_the_files_that_the_tests_write(tmp_path: Path) -> None:
    """What tests/support/bmodel_files.py writes is a bmodel to model_tool as well."""
    info = vendor_info(write_bmodel(tmp_path / "model.bmodel", Glm().nets()))
    assert re.findall(r"net \d+: \[(\w+)\]", info) == [net.name for net in Glm().nets()]
    assert "input: attention_mask, [1, 1, 64, 64], float16" in info
