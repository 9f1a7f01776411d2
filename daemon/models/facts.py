"""What the core has to know of a model before an engine child loads it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from glmd.bmodel.features import Features, read_features
from glmd.bmodel.reader import read_bmodel
from glmd.checkpoint.folder import Checkpoint
from glmd.checkpoint.source import open_model
from glmd.daemon.tokenizer.tokenizer import FILE_NAME, Tokenizer
from glmd.errors import ModelError
from glmd.packed import PackedModel


class ModelFacts(NamedTuple):
    """`devices`: chips that one copy of it takes, 0 on the CPU."""

    tokenizer: Tokenizer
    devices: int


Model = Checkpoint | PackedModel | Features


def open_any(model: Path, backend: str) -> Model:
    """Look at the model's files; no chip is touched. Raises ModelError."""
    return read_features(read_bmodel(model)) if backend == "bm1684x" else open_model(model)


def model_facts(path: Path, model: Model, tokenizer: Path | None) -> ModelFacts:
    """`model`: what `path` was opened as. `tokenizer`: its file or folder, None for the model's
    own. Raises ModelError."""
    if isinstance(model, Features):
        found, vocab, devices = _beside(path, tokenizer), model.vocab, model.devices
    else:
        if tokenizer is None:
            found = Tokenizer(model.tokenizer(), f"of {path}")
        else:
            found = Tokenizer.load(tokenizer)
        vocab, devices = model.config.padded_vocab_size, 0
    if vocab is not None:
        found.check_fits(vocab)
    return ModelFacts(found, devices)


def _beside(bmodel: Path, tokenizer: Path | None) -> Tokenizer:
    """A bmodel holds no tokenizer."""
    file = bmodel.parent / FILE_NAME
    if tokenizer is None and not file.is_file():
        raise ModelError(
            f"{bmodel} has no tokenizer beside it: there is no {file}.",
            hint="Give the folder with ChatGLM3's tokenizer.model with --tokenizer.",
        )
    return Tokenizer.load(tokenizer or file)
