"""An answer that matches a regular expression from its first character to its last. Needs the extra
`json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

import glmd
from glmd.plugins._constraint import Constraint
from glmd.plugins._grammar import Grammars
from glmd.sampler import Sampler, SamplerContext


class Regex(glmd.Sampler):
    """The answer matches a pattern from beginning to end."""

    name = "regex"

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`pattern`: in the syntax of Rust's regex crate; no look-around, no back-references."""

        pattern: Annotated[str, msgspec.Meta(min_length=1)]

    def __init__(self) -> None:
        self._grammars = Grammars()

    def start(self, params: Params, ctx: SamplerContext) -> Constraint:
        return self._grammars.constraint(self.name, f"body: {_terminal(params.pattern)}", ctx)


def _terminal(pattern: str) -> str:
    """As Lark writes it: between slashes, on one line."""
    escaped, quoted = [], False
    for character in pattern:
        if character == "/" and not quoted:
            escaped.append("\\/")
        else:
            escaped.append({"\n": "\\n", "\r": "\\r"}.get(character, character))
        quoted = character == "\\" and not quoted
    return f"/{''.join(escaped)}/"


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(Regex())
