"""What msgspec finds wrong with a value, as a sentence that names the field."""

from __future__ import annotations

import re

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<key>key` in `)?\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*)`$")
LONGEST = 200


def explain(error: Exception) -> str:
    """From "Expected `int`, got `str` - at `$.sampling.top_k`": "The field sampling.top_k: expected
    int, got str."""
    match = _AT.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    path = path[:LONGEST]
    if missing := _MISSING.match(what):
        return f"The field {path + '.' if path else ''}{missing[1]} is missing."
    if unknown := _UNKNOWN.match(what):
        return f"There is no field {path + '.' if path else ''}{unknown[1][:LONGEST]}."
    what = what.replace("`object`", "`map`").replace("`", "")
    what = what[:1].lower() + what[1:LONGEST]
    if not path:
        return f"The message is wrong: {what}."
    return f"The {'keys' if match and match['key'] else 'field'} {path}: {what}."
