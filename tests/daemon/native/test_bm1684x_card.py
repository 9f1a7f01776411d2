"""bench/bm1684x/card.py, which the owner of a card runs, on the simulator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from support.bmodels import SEQ_LENGTH, TINY, Form, build_bmodel
from support.checkpoints import ROOT
from support.serve_bmodels import serve_bmodel
from support.simulated import simulator_folder

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.source import MANIFEST
from glmd.compiler.manifest import File, Manifest, NetFacts
from glmd.compiler.serve.nets import serve_nets

SCRIPT = ROOT / "bench" / "bm1684x" / "card.py"
SECONDS = 0.01  # that the manifest says each net of a layer takes

pytestmark = [
    pytest.mark.needs("tpu_mlir", "export"),
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


def measured(model: Path) -> tuple[str, dict[str, list[str]]]:
    """What is said above the tables, and the cells of their rows behind the first."""
    options = ["--simulate", "--libsophon", str(simulator_folder()), "--runs", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(model), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1700,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head, _, tables = done.stdout.partition("\n| ")
    rows = [line.strip("| ").split(" | ") for line in tables.splitlines() if " | " in line]
    return head, {name: cells for name, *cells in rows}


def with_manifest(folder: Path) -> Path:
    """The folder that a compile would have left, with times that are easily added up."""
    model = folder / "tiny.bmodel"
    model.symlink_to(serve_bmodel(TINY, SEQ_LENGTH))
    config = msgspec.convert(TINY.config(), ModelConfig)
    nets = [
        NetFacts(net.name, net.outputs[0].shape[0], None if net.layer is None else SECONDS, [], [])
        for net in serve_nets(config, SEQ_LENGTH)
    ]
    manifest = Manifest(
        file=File(model.name, 1, ""),
        target="bm1684x",
        recipe="serve",
        mode="f16",
        quantisation={"layers": "F16"},
        features={},
        model=config,
        nets=nets,
        source="tiny",
        glmd="0.1.0",
        toolchain="tpu_mlir 1.30.2",
    )
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return folder


def test_the_nets_of_the_serve_recipe(tmp_path: Path) -> None:
    head, rows = measured(with_manifest(tmp_path))
    assert head.startswith("# tiny on the simulator\n\n**Simulator**: these times are")
    assert "recipe serve, F16, by tpu_mlir 1.30.2" in head
    decodes = [f"decode {n}" for n in (1, 2, 4, 8)]
    steps = ["prefill 32", "chunk 16", *decodes]
    assert [name for name in rows if not name.startswith("a ")] == [*steps, "first token, 16"]
    for name in steps:
        launches, taken, _, estimate, above, *speed = rows[name]
        # embedding, two layers, lm_head, greedy_head
        assert (launches, estimate) == ("5", f"{2e3 * SECONDS:.1f}")
        # A computer may be faster than the manifest's times; what is printed is rounded.
        difference = 1e3 * (float(taken) - float(estimate)) / 5
        assert float(above) == pytest.approx(difference, abs=1e3 * 0.1 / 5 + 1)
        assert bool(speed and float(speed[0])) == (name in decodes)


def test_the_nets_of_the_seed_recipe_without_a_manifest() -> None:
    head, rows = measured(build_bmodel(TINY, Form()))
    assert "without a manifest, so that nothing is expected" in head
    assert [name for name in rows if not name.startswith("a ")] == [
        f"prefill {SEQ_LENGTH}",
        "decode 1",
        "first token, 16",
    ]
    assert rows["decode 1"][0] == "5"
    assert rows["decode 1"][3:5] == ["", ""]
