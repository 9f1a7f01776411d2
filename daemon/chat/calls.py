"""Tool calls as ChatGLM3 writes them, to and from ToolCall.

    get_weather
    ```python
    tool_call(city='北京', days=3)
    ```

The name stands on the role line. The arguments are Python literals; they are read from the syntax
tree and never evaluated. The code interpreter is the one tool whose block is the code itself:

    interpreter
    ```python
    print(1 + 1)
    ```
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import unicodedata
import warnings
from collections.abc import Collection
from typing import Any

from glmd.chat import ToolCall

INTERPRETER = "interpreter"
MAX_SOURCE = 1 << 16  # characters of one call
MAX_DEPTH = 32  # brackets in brackets

_FENCED = re.compile(r"\s*```(?:python)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL)
_FUNCTION = "tool_call"
_ESCAPED = "_keyword_"  # before an argument's name that Python reserves, such as from=
_SIGNS = frozenset({"-", "+", "**"})
_INT64 = range(-(1 << 63), 1 << 64)  # what msgpack carries

# The tokens a call of literals is made of. A quote behind a letter would open bytes or an f-string.
_TOKEN = re.compile(
    r"""
    (?P<string> (?<!\w) [rRuU]? (?: \'{3} (?: \\. | [^\\] )*? \'{3} | "{3} (?: \\. | [^\\] )*? "{3}
                                | ' (?: \\. | [^'\\\n] )* '        | " (?: \\. | [^"\\\n] )* " ) )
  | (?P<name>   [^\W\d]\w* )
  | (?P<number> \.?\d[\w.]* )
  | (?P<mark>   \*\* | [()\[\]{},:=+-] )
  | (?P<space>  \s+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"[^\W\d]\w*")
_ASSIGNED = re.compile(r"\s*=")


class _NotACall(Exception):
    """The text is no tool call in ChatGLM3's format, or not one to be trusted."""


def format_call(call: ToolCall) -> tuple[str, str]:
    """(metadata, content) of the turn that makes `call`."""
    if call.name == INTERPRETER and call.arguments.keys() == {"code"}:
        return INTERPRETER, f"```python\n{call.arguments['code']}\n```"
    plain = {key: value for key, value in call.arguments.items() if _is_plain(key)}
    parts = [f"{key}={value!r}" for key, value in plain.items()]
    if len(plain) < len(call.arguments):
        rest = {key: value for key, value in call.arguments.items() if key not in plain}
        parts.append(f"**{rest!r}")
    return call.name, f"```python\n{_FUNCTION}({', '.join(parts)})\n```"


def parse_call(metadata: str, content: str, tools: Collection[str]) -> ToolCall | None:
    """The call a turn makes, or None when it is plain text: an unknown tool, no closed code block,
    or arguments that are not literals.

    `tools`: names the model may call. The interpreter is always known, for its block is handed on
    unread: {"code": …}.
    """
    name = metadata.strip()
    block = _FENCED.fullmatch(content)
    if block is None:
        return None
    if name in tools:
        try:
            return ToolCall(name, _arguments(block[1].strip()))
        except _NotACall:
            pass
    if name == INTERPRETER:
        return ToolCall(name, {"code": block[1]})
    return None


def _is_plain(key: str) -> bool:
    """Whether `key=` can stand in a call and be read back: Python normalises identifiers."""
    return (
        _NAME.fullmatch(key) is not None
        and key.isidentifier()
        and unicodedata.normalize("NFKC", key) == key
        and not key.startswith(_ESCAPED)
    )


def _arguments(source: str) -> dict[str, Any]:
    source = _checked(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash that escapes nothing, as in 'C:\dir'
            tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _NotACall from error
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        raise _NotACall
    if tree.func.id != _FUNCTION or tree.args:
        raise _NotACall
    arguments: dict[str, Any] = {}
    for item in tree.keywords:
        if item.arg is None:
            given = _literal(item.value)
            if not isinstance(given, dict):
                raise _NotACall
        else:
            given = {item.arg.removeprefix(_ESCAPED): _literal(item.value)}
        if given.keys() & arguments.keys():
            raise _NotACall
        arguments |= given
    return arguments


def _checked(source: str) -> str:
    """`source` with reserved argument names escaped, once its tokens are those of a call of
    literals. Only then may it see Python's parser, whose stack deep nesting could exhaust."""
    if len(source) > MAX_SOURCE:
        raise _NotACall
    pieces: list[str] = []
    depth = at = 0
    before = ""
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise _NotACall
        text, at = match.group(), match.end()
        if match.lastgroup == "mark":
            depth += (text in "([{") - (text in ")]}")
            if depth > MAX_DEPTH or (text in _SIGNS and before in _SIGNS):
                raise _NotACall
        elif keyword.iskeyword(text) and _ASSIGNED.match(source, at):
            text = _ESCAPED + text
        if match.lastgroup != "space":
            before = text
        pieces.append(text)
    return "".join(pieces)


def _literal(node: ast.expr) -> Any:
    """The JSON-like value of a literal."""
    if isinstance(node, ast.Constant):
        return _scalar(node.value)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _literal(key) for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise _NotACall
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _literal(node.operand)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _scalar(-value if isinstance(node.op, ast.USub) else value)
    raise _NotACall


def _scalar(value: object) -> Any:
    if isinstance(value, str):
        # "\ud83d\ude00", as JSON escapes an emoji, is two halves to Python: join them.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and value in _INT64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _NotACall
