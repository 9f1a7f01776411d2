"""Mapped weights stay mapped: a process serving them owns little besides its KV cache."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from support import glm_models

from glmd.daemon.native import _engine as native

# About 90 MB of int8 weights.
MODEL = glm_models.Model(8, 1024, 2048, 8, 2, 128, 2048)
PROMPT, STEPS = 400, 8


def write_weights(folder: Path) -> None:
    matrices = {}
    vectors = {}
    with (folder / "weights").open("wb") as out:
        for name, values in glm_models.tensors(MODEL).items():
            if values.ndim == 1:
                vectors[name] = values.astype(np.float32)
                continue
            ((packed, kind),) = glm_models.pack({name: values}, "int8")[0].values()
            out.write(bytes(-out.tell() % 64))
            matrices[name] = (out.tell(), packed.nbytes, kind)
            out.write(packed.data)
    np.savez(folder / "vectors.npz", **vectors)  # type: ignore[arg-type]
    index = {"model": asdict(MODEL), "matrices": matrices, "prompt": PROMPT, "steps": STEPS}
    (folder / "index.json").write_text(json.dumps(index))


def test_anonymous_memory_of_a_mapped_model(tmp_path: Path) -> None:
    write_weights(tmp_path)
    child = Path(__file__).with_name("mapped_child.py")
    done = subprocess.run(
        [sys.executable, "-I", str(child), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    size, loaded, ran, released = map(int, done.stdout.split())
    kv = (PROMPT + STEPS) * MODEL.layers * 2 * MODEL.kv_heads * MODEL.head_dim * 2
    assert size > 70_000_000
    assert loaded < 0.02 * size
    assert ran < kv + 0.15 * size
    assert released < ran - 0.9 * kv


def anonymous() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_attention_over_a_long_context_takes_bounded_memory_with_many_threads() -> None:
    model = glm_models.Model(1, 64, 64, 32, 2, 128, 64)
    engine = glm_models.backend(model, slots=1, max_seq=4096, threads=64)
    ids = np.zeros(128, np.int32)
    cancel = native.CancelFlag()
    for start in range(0, 3840, 128):
        engine.forward([native.Span(0, start, ids, native.Want.none)], cancel)
    before = anonymous()
    engine.forward([native.Span(0, 3840, ids[:127], native.Want.none)], cancel)
    assert anonymous() - before < 80 << 20
