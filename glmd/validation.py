"""What msgspec finds wrong with a value, as a sentence that names the field."""

from __future__ import annotations

import functools
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec.inspect

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key` in `)?\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.*)`$")
_NO_CHOICE = re.compile(r"^Invalid enum value (.*)$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*)`$")
LONGEST = 200

# It takes milliseconds, and anybody may be wrong. Bounded: plugins bring types of their own.
_type_info = functools.lru_cache(maxsize=128)(msgspec.inspect.type_info)


def explain(
    error: Exception, kind: type | None = None, given: Mapping[str, Any] | None = None
) -> str:
    """From "Expected `int`, got `str` - at `$.sampling.top_k`": "The field sampling.top_k: expected
    int, got str." With the `kind` that was wanted, also the values a choice has; with what was
    `given`, also what that field was."""
    match = _AT.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    path = path[:LONGEST]
    if missing := _MISSING.match(what):
        return f"The field {path + '.' if path else ''}{missing[1]} is missing."
    if unknown := _UNKNOWN.match(what):
        return f"There is no field {path + '.' if path else ''}{unknown[1][:LONGEST]}."
    if (wrong := _NO_CHOICE.match(what)) and (choices := _choices(kind, path)):
        return f"The field {path}: {wrong[1][:LONGEST]} is none of {choices}."
    what = what.replace("`object`", "`map`").replace("`", "")
    what = what[:1].lower() + what[1:LONGEST]
    if not path:
        return f"The message is wrong: {what}."
    field = re.split(r"[.[]", path)[0]
    if given is not None and field in given:
        what += f"; {field} is {reprlib.repr(given[field])}"
    return f"The {'keys of' if match and match['key'] else 'field'} {path}: {what}."


def _choices(kind: type | None, path: str) -> str:
    """The values of the Literal at `path`; "" where there is none."""
    if kind is None:
        return ""
    found = [_type_info(kind)]
    for step in re.findall(r"\[[^]]*\]|[^.[]+", path):
        found = [inner for outer in found for inner in _below(outer, step)]
    values = [
        value
        for union in found
        for choice in _members(union)
        if isinstance(choice, msgspec.inspect.LiteralType)
        for value in choice.values
    ]
    return ", ".join(map(repr, values))


def _members(kind: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    return kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)


def _below(kind: msgspec.inspect.Type, step: str) -> Iterator[msgspec.inspect.Type]:
    """The type of a field, or of any item where `step` is in brackets."""
    for member in _members(kind):
        if isinstance(member, msgspec.inspect.StructType):
            yield from (field.type for field in member.fields if field.encode_name == step)
        elif isinstance(member, msgspec.inspect.ListType):
            yield member.item_type
        elif isinstance(member, msgspec.inspect.DictType):
            yield member.value_type
