"""What a conversation is trained on: its token ids, what each is worth, and where heads look."""

from __future__ import annotations

from dataclasses import dataclass

from glmd.compiler.nano.dialogue import Dialogue, Turn, parse_call, turn_ids
from glmd.compiler.nano.guide import (
    Chain,
    Link,
    announced,
    announcement_links,
    call_links,
    called,
    copy_links,
)
from glmd.compiler.nano.tokenizer import NanoTokenizer

CALL_WEIGHT = 1.5
"""How much more a token of a tool call counts in training than one of an answer."""

FIRST_WEIGHT = 6.0
"""The same for the first piece of a name or value in a call, which decides about the call."""

RECALL_WEIGHT = 1.5
"""The same for the first piece of a tool's name behind the word `parameters`."""

CUT_WEIGHT = 2.0
"""The same for a token of an answer of which only the beginning counts."""

CUT_TOKENS = 16
"""What is kept of an answer of which only the beginning counts, its role token included."""


@dataclass(frozen=True)
class Row:
    """Token ids, what to predict in the place of each, the loss weight of that, and the branch.

    What to predict is the id itself, but behind the word `parameters` of an announcement the first
    piece of the tool's name: so that it can be copied from there by a head that chooses the tool.

    Branches are those of `ChatGLM.states`: 0 throughout for a plain conversation. Links say where
    some heads should look.
    """

    ids: list[int]
    wanted: list[int]
    weights: list[float]
    branches: list[int]
    links: list[Link]


def training_row(tokenizer: NanoTokenizer, dialogue: Dialogue) -> Row:
    """The row of a whole conversation.

    What the assistant says weighs 1, together with the token that ends it: ``<|observation|>``
    after a tool call, else ``<|user|>``. A tool call weighs `CALL_WEIGHT`, the first pieces of its
    names and values `FIRST_WEIGHT`, everything else nothing but what `Row` says of announcements
    (`RECALL_WEIGHT`). An answer of a conversation that is `cut` counts only with its first tokens,
    by `CUT_WEIGHT`.
    """
    ids = [tokenizer.special["[gMASK]"], tokenizer.special["sop"]]
    weights, branches = [0.0, 0.0], [0, 0]
    links: list[Link] = []
    tools: list[Chain] = []
    recalled: dict[int, int] = {}
    branch = 0
    asked = range(0)
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
        first = len(ids)
        ids += said
        weights += [1.0 if begins else 0.0] + [weight] * (len(said) - 1)
        branches += [branch] * len(said)
        if turn.role == "system":
            chains = _announced(tokenizer, turn, first)
            tools += chains
            links += announcement_links(chains)
            recalled |= {chain.parameters + 1: ids[chain.firsts[0]] for chain in chains}
        elif turn.metadata:
            call = _called(tokenizer, turn, first)
            for decisive in (*call.firsts, *(value[0] for value in call.values if value)):
                weights[decisive] = FIRST_WEIGHT
            if tool := next((tool for tool in tools if tool.can_be(call)), None):
                links += [*call_links(tool, call), *copy_links(ids, tool, call, asked)]
        asked = range(first, len(ids))
    wanted = [recalled.get(place, token) for place, token in enumerate(ids)]
    for place in recalled:
        weights[place] = RECALL_WEIGHT
    return Row(ids, wanted, weights, branches, links)


def _announced(tokenizer: NanoTokenizer, turn: Turn, first: int) -> list[Chain]:
    offset = first + 1 + len(tokenizer.encode("\n"))
    return announced(turn.content, tokenizer.spans(turn.content), offset)


def _called(tokenizer: NanoTokenizer, turn: Turn, first: int) -> Chain:
    call = parse_call(turn.content) or {}
    spans = tokenizer.spans(f"{turn.metadata}\n"), tokenizer.spans(turn.content)
    return called(turn.metadata, call, spans, first + 1, turn.content)
