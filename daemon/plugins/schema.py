"""Parameters of a plugin's sampler, checked in the core, which never imports the plugin.

The plugin host gives the JSON schema of `Params`; from that a type is made again that msgspec
checks values with. What a schema says beyond it, the sampler's own `Params` finds in the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

import msgspec

from glmd.errors import InvalidRequest
from glmd.validation import explain

_BOUNDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_LENGTHS = {"minItems": "min_length", "maxItems": "max_length"}
_STRINGS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}


def checker(name: str, schema: dict[str, Any], plugin: str) -> Callable[[dict[str, Any]], None]:
    """What raises InvalidRequest for parameters that the sampler `name` of `plugin` does not have,
    or cannot have so."""
    kind = params_type(schema)

    def check(params: dict[str, Any]) -> None:
        try:
            msgspec.convert(params, kind)
        except msgspec.ValidationError as error:
            raise InvalidRequest(
                f"The stage {name}: {explain(error, kind, params)}",
                hint=f"`glmd plugins info {plugin}` shows the parameters there are.",
            ) from None

    return check


def params_type(schema: dict[str, Any]) -> Any:
    """A type for what msgspec.json.schema has described; Any for what it cannot express."""
    return _Types(schema.get("$defs", {})).of(schema)


class _Types:
    def __init__(self, definitions: dict[str, Any]) -> None:
        self._definitions = definitions
        self._open: set[str] = set()  # being made: one inside itself stays unchecked

    def of(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self._named(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return _usable(Union[tuple(self.of(one) for one in schema["anyOf"])])  # noqa: UP007
        if "enum" in schema:
            return _usable(Literal[tuple(schema["enum"])])
        match schema.get("type"):
            case "integer":
                return _limited(int, schema, _BOUNDS)
            case "number":
                return _limited(float, schema, _BOUNDS)
            case "string" if "contentEncoding" not in schema and "format" not in schema:
                return _limited(str, schema, _STRINGS)
            case "boolean":
                return bool
            case "null":
                return None
            case "array" if "prefixItems" in schema:
                return tuple[tuple(self.of(one) for one in schema["prefixItems"])]  # type: ignore
            case "array":
                items = schema.get("items")
                inner = self.of(items) if isinstance(items, dict) else Any
                return _limited(list[inner], schema, _LENGTHS)  # type: ignore[valid-type]
            case "object" if "properties" in schema:
                return self._struct(schema)
            case "object":
                values = schema.get("additionalProperties")
                return dict[str, self.of(values) if isinstance(values, dict) else Any]  # type: ignore
        return Any

    def _named(self, name: str) -> Any:
        if name in self._open or name not in self._definitions:
            return Any
        self._open.add(name)
        try:
            return self.of(self._definitions[name])
        finally:
            self._open.remove(name)

    def _struct(self, schema: dict[str, Any]) -> Any:
        required = schema.get("required", [])
        # Numbered, because a property may have a name that no field can have.
        names = {f"f{i}": name for i, name in enumerate(schema["properties"])}
        fields: list[Any] = [
            (field, self.of(schema["properties"][name]))
            if name in required
            else (field, self.of(schema["properties"][name]), None)
            for field, name in names.items()
        ]
        return msgspec.defstruct(
            schema.get("title", "Params"),
            fields,
            kw_only=True,
            forbid_unknown_fields=True,
            rename=names,
        )


def _limited(kind: Any, schema: dict[str, Any], words: dict[str, str]) -> Any:
    limits: dict[str, Any] = {
        ours: schema[theirs] for theirs, ours in words.items() if theirs in schema
    }
    return Annotated[kind, msgspec.Meta(**limits)] if limits else kind


def _usable(kind: Any) -> Any:
    """`kind`, or Any where msgspec cannot tell its members apart."""
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return Any
    return kind
