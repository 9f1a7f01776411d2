"""How samplers are written on the command line: NAME or NAME:KEY=VALUE,KEY=VALUE."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

_KEY = re.compile(r"([^\W\d]\w*)=")
_NEXT = re.compile(r",(?=[^\W\d]\w*=)")


class SamplerType(click.ParamType[Any]):
    """The stage that is meant, as the wire has it: {"name": …, "params": …}."""

    name = "sampler"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(f"{error}", param, ctx)


def parse(text: str) -> dict[str, Any]:
    """A value is JSON, `@FILE` for what a file holds (parsed where it is called .json), or else
    text, up to a comma that begins the next KEY=. Raises ValueError with a sentence."""
    name, _, rest = text.partition(":")
    if not name:
        raise ValueError(f"{text!r} names no sampler.")
    params: dict[str, Any] = {}
    at = 0
    while at < len(rest):
        key = _KEY.match(rest, at)
        if key is None:
            raise ValueError(f"{rest[at:]!r} is not KEY=VALUE, as in mirostat:tau=5,eta=0.1.")
        if key[1] in params:
            raise ValueError(f"{key[1]} is there twice.")
        params[key[1]], at = _value(rest, key.end())
    return {"name": name, "params": params}


def written(stage: dict[str, Any]) -> str:
    """The same as text."""
    params = ",".join(
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in stage["params"].items()
    )
    return f"{stage['name']}:{params}" if params else str(stage["name"])


def _value(text: str, start: int) -> tuple[Any, int]:
    """The value there, and where what follows it begins."""
    try:
        value, end = json.JSONDecoder(parse_constant=_no_number).raw_decode(text, start)
        if end == len(text) or _NEXT.match(text, end):
            return value, end + 1
    except ValueError:
        pass
    comma = _NEXT.search(text, start)
    end = comma.start() if comma else len(text)
    word = text[start:end]
    return _content(Path(word[1:])) if word.startswith("@") else word, end + 1


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _content(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else text
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not what it should be: {error}.") from None
