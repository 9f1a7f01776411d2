"""Other pieces in the place of those that calls copy.

A call copies names and values whatever they are, but a corpus of words has many pieces that begin
none of them: trained on it alone, glm3-nano found the place of `code` and wrote `number`. So in
the rows of calls some first pieces are swapped, wherever they stand, for pieces drawn from the
whole vocabulary.
"""

from __future__ import annotations

import keyword
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from glmd.compiler.nano.dialogue import tool_call, tools_prompt, turn_ids
from glmd.compiler.nano.guide import Look
from glmd.compiler.nano.rows import Row
from glmd.compiler.nano.tokenizer import NanoTokenizer
from glmd.compiler.nano.values import is_held_out

SHARE = 0.5
"""How many of the first pieces are swapped."""

_LATIN = re.compile(r"[A-Za-z]{2,}")
_CHINESE = re.compile(r"[\u4e00-\u9fa5]+")
_MARK = "\0"
_WORD = re.compile(rf"[\w{_MARK}]+")

_PARAMETER = {"type": "string integer number", "description": ""}
_SCAFFOLD = (
    tools_prompt(
        [
            {
                "name": "",
                "description": "",
                "parameters": {"type": "object", "properties": {"": _PARAMETER}, "required": [""]},
            }
        ]
    ),
    tool_call("", {}),
)
"""What every announcement and every call holds; nothing of it is swapped."""


class Swapper:
    """Swaps pieces for others of the vocabulary of `tokenizer`."""

    def __init__(self, tokenizer: NanoTokenizer) -> None:
        self._text = [tokenizer.piece(token) for token in range(len(tokenizer))]
        kept = {token for turn in _SCAFFOLD for token in turn_ids(tokenizer, turn)}
        self._alike = [
            {i for i, text in enumerate(self._text) if kind.fullmatch(text)} - kept
            for kind in (_LATIN, _CHINESE)
        ]

    def swapped(self, rng: random.Random, row: Row) -> Row:
        """`row` with other pieces in the place of some with which names and values begin.

        A word that the swap makes is never a held-out one, nor a keyword, which is no argument.
        """
        copied = {
            row.ids[link.target] for link in row.links if link.look in (Look.NEXT, Look.VALUE)
        }
        ids = row.ids
        changes: dict[int, int] = {}
        for old in sorted(copied):
            alike = next((pieces for pieces in self._alike if old in pieces), None)
            if alike is None or rng.random() >= SHARE:
                continue
            new = rng.choice(sorted(alike.difference(ids)))
            changed = [new if token == old else token for token in ids]
            words = self._words(changed, new)
            if not any(is_held_out(word) or keyword.iskeyword(word) for word in words):
                ids = changed
                changes[old] = new
        return replace(row, ids=ids, wanted=[changes.get(token, token) for token in row.wanted])

    def _words(self, ids: Sequence[int], piece: int) -> Iterator[str]:
        """The words with `piece` in them."""
        text = "".join(_MARK * (token == piece) + self._text[token] for token in ids)
        return (word.replace(_MARK, "") for word in _WORD.findall(text) if _MARK in word)
