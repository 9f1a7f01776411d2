"""A conversation and its token ids in ChatGLM3's prompt format.

Format (ChatGLM3-6B): ``[gMASK] sop``, then for each turn its role token,
``encode(metadata + "\\n")`` and ``encode(content)``. The two parts are encoded separately, and a
role that is typed as text stays text, because role tokens are only ever added as ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from glmd.compiler.nano.tokenizer import NanoTokenizer

Role = Literal["system", "user", "assistant", "observation"]

TOOLS_SENTENCE = (
    "Answer the following questions as best as you can. You have access to the following tools:"
)


CALL_WEIGHT = 1.5
"""How much more a token of a tool call counts in training than one of an answer."""

CUT_WEIGHT = 2.0
"""The same for a token of an answer of which only the beginning counts."""

CUT_TOKENS = 16
"""What is kept of an answer of which only the beginning counts, its role token included."""


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


@dataclass(frozen=True)
class Row:
    """Token ids to train on, with the loss weight of predicting each and its branch.

    Branches are those of `ChatGLM.states`: 0 throughout for a plain conversation.
    """

    ids: list[int]
    weights: list[float]
    branches: list[int]


def training_row(tokenizer: NanoTokenizer, dialogue: Dialogue) -> Row:
    """The row of a whole conversation.

    What the assistant says weighs 1, together with the token that ends it: ``<|observation|>``
    after a tool call, else ``<|user|>``. A tool call weighs `CALL_WEIGHT`, everything else nothing.
    An answer of a conversation that is `cut` counts only with its first tokens, by `CUT_WEIGHT`.
    """
    ids = [tokenizer.special["[gMASK]"], tokenizer.special["sop"]]
    weights, branches = [0.0, 0.0], [0, 0]
    branch = 0
    for place, turn in enumerate(dialogue.turns):
        if place in dialogue.branches:
            branch += 1
        said = turn_ids(tokenizer, turn)
        weight = 0.0
        if turn.role == "assistant":
            weight = CALL_WEIGHT if turn.metadata else CUT_WEIGHT if dialogue.cut else 1.0
            said.append(tokenizer.special["<|observation|>" if turn.metadata else "<|user|>"])
            if dialogue.cut:
                del said[CUT_TOKENS:]
        follows = place + 1 < len(dialogue.turns) and place + 1 not in dialogue.branches
        if turn.role == "assistant" and follows:
            said.pop()  # the next turn brings it
        begins = bool(place and dialogue.turns[place - 1].role == "assistant")
        begins = begins and place not in dialogue.branches
        ids += said
        weights += [1.0 if begins else 0.0] + [weight] * (len(said) - 1)
        branches += [branch] * len(said)
    return Row(ids, weights, branches)
