"""Greedy decoding of the held-out cases, and the table of what came out right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from glmd.compiler.nano.cases import Case, is_right
from glmd.compiler.nano.dialogue import Turn, parse_call, prompt_ids
from glmd.compiler.nano.folder import SHARD
from glmd.compiler.nano.model import ChatGLM
from glmd.compiler.nano.shape import Shape
from glmd.compiler.nano.tokenizer import PAD_ID, NanoTokenizer

BATCH = 32
SPARE_TOKENS = 16
"""How much longer than the intended answer a decoded one may get before it is cut."""


@dataclass
class Score:
    """Counts of one group of cases. `well_formed` only counts where a tool call was due."""

    right: int = 0
    well_formed: int = 0
    total: int = 0


def load_model(folder: Path, shape: Shape) -> ChatGLM:
    """The model of a folder, its F16 weights widened to float32."""
    model = ChatGLM(shape)
    model.load_state_dict(load_file(folder / SHARD))
    model.eval()
    return model


def agreed(model: ChatGLM, prompt: list[int], answer: list[int]) -> int:
    """How many ids of `answer` greedy decoding of `prompt` gives before it leaves it.

    One pass tells: an id is decoded exactly if it is the likeliest one after those before it.
    """
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + answer[:-1]]))[0, len(prompt) - 1 :]
    chosen = logits.argmax(-1).tolist()
    return next((i for i, token in enumerate(answer) if chosen[i] != token), len(answer))


def greedy(
    model: ChatGLM, prompts: Sequence[list[int]], stop: set[int], limit: int
) -> list[list[int]]:
    """At most `limit` ids that greedy decoding gives for each prompt, without the stop id.

    Padding stands behind each sequence, where causal attention does not see it.
    """
    rows = [list(prompt) for prompt in prompts]
    open_rows = set(range(len(rows)))
    for _ in range(limit):
        active = sorted(open_rows)
        if not active:
            break
        longest = max(len(rows[index]) for index in active)
        ids = torch.full((len(active), longest), PAD_ID)
        for place, index in enumerate(active):
            ids[place, : len(rows[index])] = torch.tensor(rows[index])
        with torch.inference_mode():
            states = model.states(ids)
            last = states[range(len(active)), [len(rows[index]) - 1 for index in active]]
            likeliest = model.transformer["output_layer"](last).argmax(-1).tolist()
        for index, token in zip(active, likeliest, strict=True):
            if token in stop or len(rows[index]) + 1 >= model.rope.shape[1]:
                open_rows.discard(index)
            else:
                rows[index].append(token)
    return [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]


def answer_ids(tokenizer: NanoTokenizer, turn: Turn) -> list[int]:
    """What the model has to write for `turn`, the stop id included."""
    stop = tokenizer.special["<|observation|>" if turn.metadata else "<|user|>"]
    return [*tokenizer.encode(f"{turn.metadata}\n"), *tokenizer.encode(turn.content), stop]


def read_turn(tokenizer: NanoTokenizer, ids: Sequence[int]) -> Turn:
    """The assistant turn in generated ids; special ids among them stand for no text."""
    text = tokenizer.decode([token for token in ids if token < min(tokenizer.special.values())])
    metadata, _, content = text.partition("\n")
    return Turn("assistant", content.strip(), metadata.strip())


def evaluate(
    model: ChatGLM, tokenizer: NanoTokenizer, held_out: Sequence[Case]
) -> tuple[dict[tuple[str, str], Score], list[tuple[Case, Turn]]]:
    """Scores by (group, language), and the failures with what the model said."""
    scores: dict[tuple[str, str], Score] = {}
    failures: list[tuple[Case, Turn]] = []
    for case, got in _answers(model, tokenizer, held_out):
        score = scores.setdefault((case.group, case.language), Score())
        score.total += 1
        score.right += is_right(case.expected, got)
        score.well_formed += bool(case.expected.metadata) and parse_call(got.content) is not None
        if not is_right(case.expected, got):
            failures.append((case, got))
    return scores, failures


def _answers(
    model: ChatGLM, tokenizer: NanoTokenizer, held_out: Sequence[Case]
) -> Iterator[tuple[Case, Turn]]:
    """Each case with the model's answer. Decoding starts where the answer leaves the right one."""
    undecided: list[tuple[Case, list[int], list[int]]] = []
    for case in held_out:
        prompt, answer = prompt_ids(tokenizer, case.prompt), answer_ids(tokenizer, case.expected)
        length = agreed(model, prompt, answer)
        if length == len(answer):
            yield case, case.expected
        else:
            undecided.append((case, prompt, answer[:length]))
    undecided.sort(key=lambda entry: len(entry[1]) + len(entry[2]))
    for begin in range(0, len(undecided), BATCH):
        batch = undecided[begin : begin + BATCH]
        limit = max(
            len(answer_ids(tokenizer, case.expected)) - len(same) for case, _, same in batch
        )
        replies = greedy(
            model,
            [prompt + same for _, prompt, same in batch],
            tokenizer.stop_ids,
            limit + SPARE_TOKENS,
        )
        for (case, _, same), rest in zip(batch, replies, strict=True):
            yield case, read_turn(tokenizer, same + rest)


def table(scores: dict[tuple[str, str], Score]) -> str:
    """A Markdown table of `scores`."""
    lines = ["| held-out | language | right | of | share |", "|---|---|---|---|---|"]
    for (group, language), score in scores.items():
        share = 100 * score.right / score.total
        lines.append(f"| {group} | {language} | {score.right} | {score.total} | {share:.1f} % |")
        if group == "tool calls":
            share = 100 * score.well_formed / score.total
            lines.append(
                f"| tool calls, well-formed | {language} | {score.well_formed} | {score.total} "
                f"| {share:.1f} % |"
            )
    return "\n".join(lines)
