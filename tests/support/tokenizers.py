"""The tokenizers that tests use."""

from __future__ import annotations

import io
import itertools
from functools import cache
from pathlib import Path

import sentencepiece
from support.checkpoints import NANO
from support.requirements import real_tokenizer

from glmd.daemon.tokenizer.tokenizer import Tokenizer


@cache
def nano() -> Tokenizer:
    """That of the shipped model: small, with byte fallback, Chinese and English."""
    return Tokenizer.load(NANO)


@cache
def real() -> Tokenizer:
    """ChatGLM3-6B's own, for tests marked `needs("real_tokenizer")`."""
    return Tokenizer.load(real_tokenizer())


def trained(folder: Path) -> Path:
    """A folder with a tokenizer of 290 pieces and ids of its own: what it makes of a prompt is no
    prompt for another model."""
    made = io.BytesIO()
    words = itertools.permutations(("how", "do", "i", "use", "two", "cards"), 4)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=map(" ".join, words),
        model_writer=made,
        vocab_size=290,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(made.getvalue())
    return folder
