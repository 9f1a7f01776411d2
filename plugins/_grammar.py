"""Grammars on tokens, by llguidance (the extra `json`)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmd.errors import Code, InvalidRequest
from glmd.plugins._constraint import Constraint
from glmd.sampler import SamplerContext

# Compiled grammars that are kept.
KEPT = 64

# Characters of a schema or pattern. Every answer of a batch waits while one is compiled: 0.05 s of
# processor time for the worst of this length that was tried.
LONGEST = 1 << 15

# Tokens are not forced: llguidance would split forced text by a tokenizer, which a sampler has not,
# where the model may write it with any of the tokens that spell it.
_HEADER = '%llguidance {"no_forcing": true}\n'
_OPENING = "\\n? ?"  # the texts of _constraint.OPENINGS


class Grammars:
    """Compiles each grammar once; every answer walks on a copy, which shares the automata."""

    def __init__(self) -> None:
        self._compiled: OrderedDict[str, Any] = OrderedDict()
        self._vocab: tuple[Sequence[bytes], int, frozenset[int]] | None = None
        self._tokenizer: Any = None

    def constraint(self, name: str, body: str, ctx: SamplerContext) -> Constraint:
        """A sampler's state for a Lark rule or terminal `body`. Raises InvalidRequest for what is
        no grammar, and without llguidance."""

        def begin(opening: bool) -> Walk:
            return Walk(name, self._matcher(name, body, opening, ctx).deep_copy(), ctx)

        if len(body) > LONGEST:
            raise InvalidRequest(
                f"{name} takes {LONGEST:,} characters at the most, and these are {len(body):,}."
            )
        self._matcher(name, body, True, ctx)
        return Constraint(name, begin, ctx)

    def _matcher(self, name: str, body: str, opening: bool, ctx: SamplerContext) -> Any:
        llguidance = _llguidance(name)
        vocab = ctx.vocab_bytes, ctx.vocab, ctx.stop_ids
        if self._vocab is None or self._vocab[0] is not vocab[0] or self._vocab[1:] != vocab[1:]:
            self._tokenizer = _tokenizer(llguidance, ctx)
            self._vocab = vocab
            self._compiled.clear()
        start = f"start: /{_OPENING}/ body" if opening else "start: body"
        grammar = f"{_HEADER}{start}\n{body}\n"
        if grammar not in self._compiled:
            matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
            if matcher.is_error():
                raise InvalidRequest(f"{name} cannot be made: {_reason(matcher.get_error())}.")
            self._compiled[grammar] = matcher
            if len(self._compiled) > KEPT:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(grammar)
        return self._compiled[grammar]


class Walk:
    def __init__(self, name: str, matcher: Any, ctx: SamplerContext) -> None:
        self._name = name
        self._matcher = matcher
        self._vocab = ctx.vocab
        self._stop_ids = sorted(ctx.stop_ids)

    def allowed(self) -> NDArray[np.intp]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        mask = np.unpackbits(bits, bitorder="little")[: self._vocab]
        if mask[self._stop_ids[0]]:  # the one that llguidance knows
            mask[self._stop_ids] = 1
        return np.flatnonzero(mask)

    def follow(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        """All tokens come from the mask, so what goes wrong is that a limit of llguidance's on time
        and memory was met."""
        if self._matcher.is_error():
            reason = _reason(self._matcher.get_error())
            raise InvalidRequest(
                f"{self._name} is too complex to follow: {reason}.",
                hint="Ask for something simpler.",
            )


class _Vocabulary:
    """What llguidance wants to know of a tokenizer. Special ids and those of the padding get names
    behind the byte FF, with which llguidance marks what no text contains."""

    def __init__(self, ctx: SamplerContext) -> None:
        texts = [*ctx.vocab_bytes, *[b""] * (ctx.vocab - len(ctx.vocab_bytes))]
        self.tokens = [text or b"\xff[%d]" % i for i, text in enumerate(texts)]
        self.special_token_ids = [i for i, text in enumerate(texts) if not text]
        self.eos_token_id = min(ctx.stop_ids, default=0)
        self.bos_token_id = None

    def __call__(self, text: bytes | str) -> list[int]:
        """Only asked for forced text, which there is none of."""
        return []


def _tokenizer(llguidance: Any, ctx: SamplerContext) -> Any:
    wrapper = llguidance.TokenizerWrapper(_Vocabulary(ctx))
    return llguidance.LLTokenizer(wrapper, n_vocab=ctx.vocab)


def _reason(error: str) -> str:
    """One line of what llguidance says, which adds the grammar, marks and a backtrace."""
    said = re.split(r"\n +1 \| |\n?<(?:backtrace|state)>", error)[0]
    said = re.sub(r"^at \S+: ", "", said).rpartition("\nerror: ")[2]
    return " ".join(said.split()).removeprefix("failed to compile JSON schema: ")


def _llguidance(name: str) -> Any:
    try:
        import llguidance
    except ImportError:
        raise InvalidRequest(
            f"{name} needs llguidance, which is not installed.",
            hint="pip install 'glmd[json]', and ask again.",
            code=Code.UNSUPPORTED,
        ) from None
    return llguidance
