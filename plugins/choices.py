"""An answer that is one of the given strings, whatever tokens it takes to write it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

import glmd
from glmd.plugins._constraint import OPENINGS, Constraint
from glmd.sampler import Sampler, SamplerContext


class Choices(glmd.Sampler):
    """The answer is one of the given strings."""

    name = "choices"

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`of`: the strings."""

        of: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1024)]

    def __init__(self) -> None:
        self._table: Table | None = None

    def start(self, params: Params, ctx: SamplerContext) -> Constraint:
        if self._table is None or self._table.vocab_bytes is not ctx.vocab_bytes:
            self._table = Table(ctx.vocab_bytes)
        table, texts = self._table, [text.encode() for text in params.of]

        def begin(opening: bool) -> Walk:
            whole = [o + text for o in (OPENINGS if opening else OPENINGS[:1]) for text in texts]
            return Walk(table, whole, ctx.stop_ids)

        return Constraint(self.name, begin, ctx)


class Table:
    """The ids that stand for some bytes: of a single one there are often two, the character's own
    and the byte that spells characters the vocabulary lacks."""

    def __init__(self, vocab_bytes: Sequence[bytes]) -> None:
        self.vocab_bytes = vocab_bytes
        self.ids: defaultdict[bytes, list[int]] = defaultdict(list)
        for token, text in enumerate(vocab_bytes):
            if text:
                self.ids[text].append(token)
        self.longest = max(map(len, vocab_bytes), default=0)


class Walk:
    """`rest`: what is left of each text that the answer so far can become."""

    def __init__(self, table: Table, texts: Sequence[bytes], stop_ids: frozenset[int]) -> None:
        self.table = table
        self.rest = set(texts)
        self.stop_ids = stop_ids

    def allowed(self) -> NDArray[np.intp]:
        pieces = {
            text[:n] for text in self.rest for n in range(1, min(len(text), self.table.longest) + 1)
        }
        ids = {token for piece in pieces for token in self.table.ids.get(piece, ())}
        if b"" in self.rest:
            ids |= self.stop_ids
        return np.array(sorted(ids), np.intp)

    def follow(self, token: int) -> None:
        if token not in self.stop_ids:
            piece = self.table.vocab_bytes[token]
            self.rest = {text[len(piece) :] for text in self.rest if text.startswith(piece)}


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(Choices())
