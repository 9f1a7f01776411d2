"""TPU-MLIR's own llm_convert.py on a small ChatGLM3 checkpoint, run by the toolchain's Python:

    vendor_convert.py -m CHECKPOINT -s 64 -q f16|w8f16|w4f16 -o DIR [--do_sample]

Some things are put in their place before it runs. Its ChatGLM3 converter (1.30.2) drops the final
RMSNorm of a model whose embedding and output layer differ, and with it every right answer: the line
is repaired as its other converters have it. Of torch, which is gigabytes, it uses a table of
rotations here and the names of types; of safetensors the reading of F16 and F32: numpy does both.
GNU parallel, to which it gives its commands, is a shell here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(os.environ["TPUC_ROOT"])
BROKEN = "do_norm = self.do_lmhead_merge and idx == self.num_layers - 1"
REPAIRED = "do_norm = self.num_device < 2 and idx == self.num_layers - 1"


class Checkpoint:
    """What the converter's LlmLoad gives it: float32 arrays by name."""

    def __init__(self, folder: str) -> None:
        self._places: dict[str, tuple[Path, int, dict[str, Any]]] = {}
        for path in sorted(Path(folder).glob("*.safetensors")):
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            self._places |= {name: (path, 8 + length, entry) for name, entry in header.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        path, start, entry = self._places[name]
        dtype = {"F16": np.float16, "F32": np.float32}[entry["dtype"]]
        first, last = entry["data_offsets"]
        count = (last - first) // np.dtype(dtype).itemsize
        values = np.fromfile(path, dtype, count, offset=start + first)
        return values.reshape(entry["shape"]).astype(np.float32)

    def is_exist(self, name: str) -> bool:
        return name in self._places


def rotations(self: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin [S, D / 4, 1], as the converter's own rotary_embedding makes them."""
    rotated = self.llm_config.kv_channels // 2
    exponents = np.arange(0, rotated, 2, dtype=np.float32) / rotated
    positions = np.arange(self.seq_length, dtype=np.float32)
    angles = np.outer(positions, 1.0 / 10000**exponents).astype(np.float32)
    self.rot_dim = rotated // 2
    return np.cos(angles)[..., None], np.sin(angles)[..., None]


class _Names(types.ModuleType):
    """A module of which only the names are used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object if name == "Module" else f"{self.__name__}.{name}"


def _stand_in(name: str, module: types.ModuleType) -> types.ModuleType:
    sys.modules[name] = module
    return module


def _repaired_converter() -> None:
    name, path = "llm.Chatglm3Converter", ROOT / "python/llm/Chatglm3Converter.py"
    source = path.read_text(encoding="utf-8")
    if BROKEN not in source and REPAIRED not in source:
        sys.exit(f"{path} is not the converter that this repair was made for")
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = _stand_in(name, importlib.util.module_from_spec(spec))
    module.__file__ = str(path)
    exec(compile(source.replace(BROKEN, REPAIRED), path, "exec"), module.__dict__)
    module.Chatglm3Converter.rotary_embedding = rotations  # type: ignore[attr-defined]


def _complete_config() -> None:
    """The published config.json lacks what the model's own configuration class would add."""
    from llm import transformers_compat

    load = transformers_compat.load_auto_config

    def complete(*arguments: Any, **options: Any) -> Any:
        config = load(*arguments, **options)
        config.vocab_size = config.padded_vocab_size
        return config

    transformers_compat.load_auto_config = complete


def main() -> None:
    torch = _stand_in("torch", _Names("torch"))
    torch.nn = _stand_in("torch.nn", _Names("torch.nn"))  # type: ignore[attr-defined]
    torch.nn.functional = _stand_in("torch.nn.functional", _Names("torch.nn.functional"))
    loader = _stand_in("llm.LlmLoad", _Names("llm.LlmLoad"))
    loader.LlmLoad = Checkpoint  # type: ignore[attr-defined]
    _repaired_converter()
    _complete_config()
    with tempfile.TemporaryDirectory() as folder:
        parallel = Path(folder, "parallel")
        parallel.write_text("#!/bin/bash\nexec bash -e\n")
        parallel.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
        runpy.run_path(str(ROOT / "python/tools/llm_convert.py"), run_name="__main__")


if __name__ == "__main__":
    main()
