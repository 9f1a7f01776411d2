"""An answer that is JSON of a schema. Needs the extra `json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

import glmd
from glmd.plugins._constraint import Constraint
from glmd.plugins._grammar import Grammars
from glmd.sampler import Sampler, SamplerContext

# On one line, with a space behind commas and colons or none: JSON is for programs, and a model that
# may begin lines and indent them spends tokens on it, a small one all it has. A schema's own
# x-guidance wins.
LAYOUT = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


class JsonSchema(glmd.Sampler):
    """The answer is JSON of a schema."""

    name = "json_schema"

    class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """`schema`: a JSON schema; any JSON where it is left out."""

        schema: dict[str, Any] = {}

    def __init__(self) -> None:
        self._grammars = Grammars()

    def start(self, params: Params, ctx: SamplerContext) -> Constraint:
        schema = {"x-guidance": LAYOUT, **params.schema}
        return self._grammars.constraint(self.name, f"body: %json {json.dumps(schema)}", ctx)


@glmd.hookimpl
def glmd_register_samplers(register: Callable[[Sampler], None]) -> None:
    register(JsonSchema())
