"""The tokenizers that tests use."""

from __future__ import annotations

from functools import cache

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
