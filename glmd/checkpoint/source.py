"""What a person may name as a model: a checkpoint folder or a packed file."""

from __future__ import annotations

from pathlib import Path

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.folder import Checkpoint
from glmd.errors import ModelError
from glmd.packed import PackedModel, is_packed

# [MASK] to <|observation|>, which follow the sentencepiece vocabulary without a gap.
SPECIAL_TOKENS = 9


def open_model(path: Path) -> Checkpoint | PackedModel:
    """Open and check a model without reading its weights; either kind gives `config`,
    `tokenizer()` and `nbytes`. Raises ModelError."""
    if path.is_dir():
        return Checkpoint.open(path)
    if is_packed(path):
        return PackedModel.open(path)
    raise ModelError(
        f"{path} is {'no model that glmd knows' if path.exists() else 'not there'}.",
        hint="Give the folder of a ChatGLM3 checkpoint or a packed file.",
    )


def check_tokenizer_fits(pieces: int, config: ModelConfig, tokenizer: str, model: Path) -> None:
    """Raises ModelError if a sentencepiece vocabulary of `pieces` and the special tokens behind it
    have ids that the model has no row for. `tokenizer`, `model`: named in the sentence."""
    needed = pieces + SPECIAL_TOKENS
    if needed > config.padded_vocab_size:
        raise ModelError(
            f"{tokenizer} has {pieces} pieces, which with {SPECIAL_TOKENS} special tokens do not "
            f"fit the {config.padded_vocab_size} tokens of {model}.",
            hint="Use the tokenizer that belongs to the model.",
        )
