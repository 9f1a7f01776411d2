"""A conversation and its token ids in ChatGLM3's prompt format.

Format (ChatGLM3-6B): ``[gMASK] sop``, then for each turn its role token,
``encode(metadata + "\\n")`` and ``encode(content)``. The two parts are encoded separately, and a
role that is typed as text stays text, because role tokens are only ever added as ids.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from glmd.compiler.nano.tokenizer import NanoTokenizer

Role = Literal["system", "user", "assistant", "observation"]

TOOLS_SENTENCE = (
    "Answer the following questions as best as you can. You have access to the following tools:"
)

_CALL = re.compile(r"```python\n(.*)\n```", re.DOTALL)


@dataclass(frozen=True)
class Turn:
    """One turn. `metadata` names the tool in an assistant turn that calls one, else it is empty."""

    role: Role
    content: str
    metadata: str = ""


@dataclass(frozen=True)
class Dialogue:
    """A whole conversation, and where it came from (`kind`: talk, glmd, memory, tools…).

    `branches` are the indices of turns that go on from the turns before the first of them, as if
    the branches in between were not there. `cut` marks answers of which only the beginning counts.
    """

    kind: str
    turns: tuple[Turn, ...]
    branches: tuple[int, ...] = ()
    cut: bool = False


def tools_prompt(tools: Sequence[dict[str, Any]]) -> Turn:
    """The system turn that announces `tools` (name, description, JSON schema of the parameters)."""
    listing = json.dumps(list(tools), indent=4, ensure_ascii=False)
    return Turn("system", f"{TOOLS_SENTENCE}\n{listing}")


def tool_call(name: str, arguments: dict[str, Any]) -> Turn:
    """The assistant turn that calls `name`; the arguments are written as Python literals."""
    call = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return Turn("assistant", f"```python\ntool_call({call})\n```", metadata=name)


def parse_call(content: str) -> dict[str, Any] | None:
    """The arguments of a well-formed tool call: Python literals by keyword; else None."""
    block = _CALL.fullmatch(content.strip())
    if block is None:
        return None
    try:
        call = ast.parse(block[1], mode="eval").body
        if not isinstance(call, ast.Call) or ast.unparse(call.func) != "tool_call" or call.args:
            return None
        return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        return None


def turn_ids(tokenizer: NanoTokenizer, turn: Turn) -> list[int]:
    """Ids of one turn, its role token first."""
    return [
        tokenizer.special[f"<|{turn.role}|>"],
        *tokenizer.encode(f"{turn.metadata}\n"),
        *tokenizer.encode(turn.content),
    ]


def prompt_ids(tokenizer: NanoTokenizer, turns: Sequence[Turn]) -> list[int]:
    """Ids of the prompt that asks for the next assistant turn; it ends with ``<|assistant|>``."""
    ids = [tokenizer.special["[gMASK]"], tokenizer.special["sop"]]
    for turn in turns:
        ids += turn_ids(tokenizer, turn)
    return [*ids, tokenizer.special["<|assistant|>"]]
