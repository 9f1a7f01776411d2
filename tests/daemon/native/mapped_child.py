"""A process that serves mapped weights and prints what memory it owns; see test_memory.py.

python mapped_child.py FOLDER: reads weights, index.json and vectors.npz there, prints four numbers:
the weights' bytes, and its anonymous bytes after loading, after a prompt and decoding, and after
releasing the slot, less those before loading.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from support import glm_models

from glmd.daemon.native import _engine as native


def anonymous() -> int:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    model = glm_models.Model(**index["model"])
    file = np.memmap(folder / "weights", dtype=np.uint8, mode="r")
    weights = native.CpuWeights(model.shape(), "int8")
    before = anonymous()
    for name, (start, size, kind) in index["matrices"].items():
        weights.set_matrix(name, file[start : start + size], kind)
    with np.load(folder / "vectors.npz") as vectors:
        for name in vectors:
            weights.set_vector(name, vectors[name])
    engine = native.CpuBackend(weights, slots=64, max_seq=8192, threads=2)
    loaded = anonymous()
    ids = glm_models.tokens(index["prompt"], model.vocab)
    cancel = native.CancelFlag()
    engine.forward([native.Span(0, 0, ids, native.Want.none)], cancel)
    for i in range(index["steps"]):
        engine.forward([native.Span(0, len(ids) + i, ids[:1], native.Want.token)], cancel)
    ran = anonymous()
    engine.release(0)
    print(weights.nbytes, loaded - before, ran - before, anonymous() - before)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
