"""A checkpoint folder as Hugging Face publishes ChatGLM3: config.json, tokenizer.model and the
weights in one file or in shards with an index. Opening it reads headers only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from glmd.checkpoint import safetensors_file, torch_file
from glmd.checkpoint.config import ModelConfig, parse_config, read_fields
from glmd.checkpoint.names import IGNORED, tensor_shapes
from glmd.checkpoint.stored import NUMPY_DTYPES, StoredTensor, open_failed
from glmd.errors import ModelError

TOKENIZER = "tokenizer.model"

Reader = Callable[[Path], dict[str, StoredTensor]]

# In the order of preference.
_LAYOUTS: tuple[tuple[str, Reader], ...] = (
    ("model.safetensors", safetensors_file.read_header),
    ("pytorch_model.bin", torch_file.read_header),
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose tensors are all there with the shapes that its config asks for.

    `config_json`: its config.json as it is.
    """

    folder: Path
    config_json: Mapping[str, Any]
    config: ModelConfig
    tensors: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Raises ModelError for anything that would keep the model from being loaded."""
        if not folder.is_dir():
            raise ModelError(
                f"{folder} is {'a file' if folder.exists() else 'not there'}, "
                "where a checkpoint folder is expected.",
                hint="Give the folder that holds config.json and the weights of a ChatGLM3.",
            )
        fields = read_fields(folder / "config.json")
        config = parse_config(fields, folder / "config.json")
        return cls(folder, fields, config, _checked(folder, config, _read_headers(folder)))

    def read(self, name: str) -> NDArray[Any]:
        """A tensor as float16, float32 or uint16 (bfloat16 bits), row-major and read-only; mapped
        where the file allows it."""
        return self.tensors[name].read()

    @property
    def nbytes(self) -> int:
        """Of all tensors as stored."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def tokenizer(self) -> bytes:
        """The sentencepiece model that lies in the folder."""
        path = self.folder / TOKENIZER
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise ModelError(
                f"{self.folder} holds no {TOKENIZER}.",
                hint="Copy it there, or name it with --tokenizer PATH.",
            ) from error
        except OSError as error:
            raise open_failed(path, error) from error


def _read_headers(folder: Path) -> dict[str, StoredTensor]:
    for single, read in _LAYOUTS:
        index = folder / f"{single}.index.json"
        if index.exists():
            return _read_shards(index, read)
        if (folder / single).exists():
            return read(folder / single)
    expected = " nor ".join(f"{single}, {single}.index.json" for single, _ in _LAYOUTS)
    raise ModelError(
        f"{folder} holds no weights: neither {expected}.",
        hint="Download the whole checkpoint.",
    )


def _read_shards(index: Path, read: Reader) -> dict[str, StoredTensor]:
    """The tensors of an index, each from the shard that the index names."""
    shards: dict[str, dict[str, StoredTensor]] = {}
    tensors = {}
    for name, file in _weight_map(index).items():
        path = index.parent / file
        if file not in shards:
            if not path.exists():
                raise ModelError(
                    f"{path} is missing, and {index.name} names it.",
                    hint="Download the missing shard.",
                )
            shards[file] = read(path)
        if name not in shards[file]:
            raise ModelError(
                f"{path} has no tensor {name}, which {index.name} says is there.",
                hint="The index and the shards are of different checkpoints: download them again.",
            )
        tensors[name] = shards[file][name]
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    try:
        content = json.loads(index.read_bytes())
    except OSError as error:
        raise open_failed(index, error) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{index} is not JSON.", hint="Download it again.") from error
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(
        isinstance(file, str) and file not in ("", "..") and Path(file).name == file
        for file in names.values()
    ):
        raise ModelError(
            f"{index} has no weight_map from tensors to files beside it.",
            hint="Download it again.",
        )
    return names


def _checked(
    folder: Path, config: ModelConfig, stored: Mapping[str, StoredTensor]
) -> dict[str, StoredTensor]:
    """The tensors the model needs, in its order."""
    shapes = tensor_shapes(config)
    for name in stored:
        if name not in shapes and name not in IGNORED:
            raise ModelError(
                f"{stored[name].path} has a tensor {name}, which a ChatGLM3 of "
                f"{config.num_layers} layers does not have.",
                hint=f"Compare it with {folder / 'config.json'}.",
            )
    for name, shape in shapes.items():
        if name not in stored:
            raise ModelError(
                f"{folder} has no tensor {name}.",
                hint=f"A ChatGLM3 of {config.num_layers} layers needs it: download the checkpoint "
                "again, or check num_layers in config.json.",
            )
        tensor = stored[name]
        if tensor.shape != shape:
            raise ModelError(
                f"{tensor.path}: {name} has the shape {list(tensor.shape)}, where config.json "
                f"asks for {list(shape)}.",
                hint="The weights and config.json are of different models.",
            )
        if tensor.dtype not in NUMPY_DTYPES:
            raise ModelError(
                f"{tensor.path}: {name} is stored as {tensor.dtype}.",
                hint=f"glmd reads {', '.join(NUMPY_DTYPES)}: give the unquantised checkpoint.",
            )
    return {name: stored[name] for name in shapes}
