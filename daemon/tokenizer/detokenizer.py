"""Text from ids while they are still being made."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Protocol


class Vocabulary(Protocol):
    """What turning ids into text needs to know of a tokenizer."""

    @property
    def dummy_prefix(self) -> bool:
        """Whether encoding puts a space before a text, which decoding takes away again."""

    def bytes_of(self, token: int) -> bytes:
        """UTF-8 that `token` adds to a text; b"" for special ids."""

    def opens_with_space(self, token: int) -> bool:
        """Whether `token` is a piece that begins with sentencepiece's mark for a space."""


class Detokenizer:
    """Feed ids, get the text they complete.

    A character whose bytes are spread over several ids comes out with the last of them, so the text
    given so far never ends in the middle of one. However the ids are split over calls, the texts
    joined with that of `finish` are the same.
    """

    def __init__(self, vocabulary: Vocabulary, *, continues: bool = False) -> None:
        """`continues`: the ids go on behind other text, so a leading space belongs to them."""
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = vocabulary.dummy_prefix and not continues

    def feed(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; "" when a character is still open."""
        return "".join(map(self._feed_one, ids))

    def _feed_one(self, token: int) -> str:
        data = self._vocabulary.bytes_of(token)
        if self._at_start and data:
            self._at_start = False
            if self._vocabulary.opens_with_space(token):
                data = data[1:]
        return self._utf8.decode(data)

    def finish(self) -> str:
        """What is left when the text is over or interrupted: U+FFFD for a character that was never
        completed, or ""."""
        return self._utf8.decode(b"", final=True)
