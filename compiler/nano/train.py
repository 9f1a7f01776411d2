"""The training loop: seeded, resumable, and on the CPU."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from glmd.compiler.nano.corpus import dialogues
from glmd.compiler.nano.folder import write_folder
from glmd.compiler.nano.guide import Link
from glmd.compiler.nano.initial import initialise
from glmd.compiler.nano.model import ChatGLM, Watch
from glmd.compiler.nano.rows import Row, training_row
from glmd.compiler.nano.shape import Shape
from glmd.compiler.nano.swap import Swapper
from glmd.compiler.nano.tokenizer import PAD_ID, NanoTokenizer

PARTS = 4
"""What a batch is cut into."""

WORKERS = 2
"""Threads that take the parts of a batch. One torch thread per part scales better than two
torch threads per operation: they meet once a step, and a busy core delays nobody in between."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, besides the corpus and the shape."""

    steps: int = 3300
    seed: int = 1
    batch_tokens: int = 4608
    matrix_rate: float = 0.015
    other_rate: float = 0.003
    warmup: int = 80
    cooldown: float = 0.65

    def rate(self, step: int) -> float:
        """The share of the full learning rate: warm-up, plateau, then linearly down to zero.

        The plateau lets a run be continued or cut short from a checkpoint without a new schedule.
        """
        left = (self.steps - step) / (self.cooldown * self.steps)
        return min(1.0, (step + 1) / self.warmup, left)


@dataclass(frozen=True)
class Part:
    """Rows of like length, all ``[rows, length]``; `branches` only where a row has some.

    `links` are those of the rows, each with its row's index.
    """

    ids: Tensor
    wanted: Tensor
    weights: Tensor
    branches: Tensor | None
    links: tuple[tuple[int, Link], ...]

    @property
    def weight(self) -> float:
        """The sum of the weights of its tokens."""
        return float(self.weights[:, 1:].sum())


def _padded(rows: Sequence[Row]) -> Part:
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), PAD_ID)
    wanted = ids.clone()
    weights = torch.zeros(len(rows), length)
    branches = torch.full((len(rows), length), -1)
    for index, row in enumerate(rows):
        size = len(row.ids)
        ids[index, :size] = torch.tensor(row.ids)
        wanted[index, :size] = torch.tensor(row.wanted)
        weights[index, :size] = torch.tensor(row.weights)
        branches[index, :size] = torch.tensor(row.branches)
    links = tuple((index, link) for index, row in enumerate(rows) for link in row.links)
    return Part(ids, wanted, weights, branches if (branches > 0).any() else None, links)


def batches(tokenizer: NanoTokenizer, recipe: Recipe, context: int) -> Iterator[list[Part]]:
    """Endless batches of `PARTS` parts. The rows of a part have like lengths, and so are mostly of
    one kind of conversation; the parts of a batch are drawn from all kinds.

    Each row is one conversation from position 0 and padded at its end, so that causal attention
    needs no mask and the model sees the positions it will see when it is used. Of what is copied
    some pieces are swapped.
    """
    rng = random.Random(recipe.seed)
    stream = dialogues(recipe.seed)
    swapper = Swapper(tokenizer)
    while True:
        pool = [swapper.swapped(rng, training_row(tokenizer, next(stream))) for _ in range(2048)]
        pool = [row for row in pool if len(row.ids) <= context]
        pool.sort(key=lambda row: (row.branches[-1] > 0, len(row.ids)))
        groups: list[list[Row]] = [[]]
        for row in pool:
            mixed = groups[-1] and (groups[-1][0].branches[-1] > 0) != (row.branches[-1] > 0)
            if mixed or (len(groups[-1]) + 1) * len(row.ids) > recipe.batch_tokens // PARTS:
                groups.append([])
            groups[-1].append(row)
        groups = [group for group in groups if group]
        rng.shuffle(groups)
        for begin in range(0, len(groups) - PARTS + 1, PARTS):
            yield [_padded(group) for group in groups[begin : begin + PARTS]]


def optimizers(model: ChatGLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embedding, head, norms and biases."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, weight in model.named_parameters():
        (matrices if weight.dim() == 2 and ".layers." in name else others).append(weight)
    return [
        *(
            torch.optim.Muon(
                matrices[worker::WORKERS], lr=recipe.matrix_rate, weight_decay=0.01, momentum=0.95
            )
            for worker in range(WORKERS)
        ),
        torch.optim.AdamW(others, lr=recipe.other_rate, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def fresh_model(shape: Shape, recipe: Recipe) -> ChatGLM:
    """A model to train from nothing."""
    torch.set_num_threads(1)  # more would round otherwise
    model = ChatGLM(shape)
    initialise(model, shape, recipe.seed)
    return model


def watches(links: Sequence[tuple[int, Link]]) -> Iterator[tuple[int, Watch, Tensor, Tensor]]:
    """For each layer with `links`: what to watch, the targets, and the weights."""
    for number in sorted({link.look.value[0] for _, link in links}):
        here = [(row, link) for row, link in links if link.look.value[0] == number]
        rows, heads, origins, targets = torch.tensor(
            [(row, link.look.value[1], link.origin, link.target) for row, link in here]
        ).T
        weights = torch.tensor([link.weight for _, link in here])
        yield number, Watch(rows, heads, origins), targets, weights


def part_gradients(model: ChatGLM, part: Part, whole: float) -> tuple[float, tuple[Tensor, ...]]:
    """This part's share of the batch's weighted cross entropy (nats), and the gradients of that
    together with the cross entropy of its links.

    `whole` is the sum of the weights of the tokens of all parts.
    """
    ids, weights_of = part.ids, part.weights[:, 1:].flatten()
    chosen = weights_of > 0
    branches = None if part.branches is None else part.branches[:, :-1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        watched = list(watches(part.links))
        states = model.states(
            ids[:, :-1], branches, {number: watch for number, watch, _, _ in watched}
        )
        logits = model.transformer["output_layer"](states.flatten(0, 1)[chosen])
    wanted = part.wanted[:, 1:].flatten()[chosen]
    each = functional.cross_entropy(logits.float(), wanted, reduction="none")
    loss = (each * weights_of[chosen]).sum() / whole
    guided = loss
    for _, watch, targets, weights in watched:
        assert watch.scores is not None
        attention = watch.scores.float().log_softmax(-1)
        guided = guided - (attention.gather(1, targets[:, None])[:, 0] * weights).sum() / whole
    return loss.item(), torch.autograd.grad(guided, tuple(model.parameters()))


def batch_gradients(pool: ThreadPoolExecutor, model: ChatGLM, batch: Sequence[Part]) -> float:
    """Sets `.grad` of every parameter, always summed in the same order; returns the loss."""
    whole = sum(part.weight for part in batch)
    results = [pool.submit(part_gradients, model, part, whole) for part in batch]
    losses, gradients = zip(*(result.result() for result in results), strict=True)
    for weight, *terms in zip(model.parameters(), *gradients, strict=True):
        weight.grad = sum(terms[1:], terms[0])
    return float(sum(losses))


def train(
    tokenizer: NanoTokenizer,
    model: ChatGLM,
    recipe: Recipe,
    state: Path,
    log: Callable[[str], None],
) -> ChatGLM:
    """Trains `model` up to `recipe.steps`, going on from `state` if that file is there.

    `state` is written every 50 steps and holds the weights, the optimizers and the step.
    """
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(WORKERS)
    chain = optimizers(model, recipe)
    full_rates = [group["lr"] for optimizer in chain for group in optimizer.param_groups]
    first = 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, values in zip(chain, saved["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        first = saved["step"]
        log(f"going on at step {first}")
    stream = batches(tokenizer, recipe, model.shape.context)
    for _ in range(first):
        next(stream)
    began, tokens, total = time.monotonic(), 0, 0.0
    for step in range(first, recipe.steps):
        batch = next(stream)
        groups = [group for optimizer in chain for group in optimizer.param_groups]
        for group, rate in zip(groups, full_rates, strict=True):
            group["lr"] = rate * recipe.rate(step)
        total += batch_gradients(pool, model, batch)
        tokens += sum(part.ids.numel() for part in batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        list(pool.map(lambda optimizer: optimizer.step(), chain))
        if (step + 1) % 50 == 0 or step + 1 == recipe.steps:
            partial = state.with_suffix(".partial")
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizers": [optimizer.state_dict() for optimizer in chain],
                    "step": step + 1,
                },
                partial,
            )
            partial.replace(state)
        if (step + 1) % 50 == 0:
            seconds = time.monotonic() - began
            speed = tokens / seconds
            log(f"step {step + 1} of {recipe.steps} loss {total / 50:.4f} {speed:.0f} tokens/s")
            began, tokens, total = time.monotonic(), 0, 0.0
    return model


def write_model(
    folder: Path, tokenizer: NanoTokenizer, shape: Shape, weights: Mapping[str, Tensor]
) -> None:
    """Writes the model folder with F16 weights."""
    arrays = {name: weight.half().numpy() for name, weight in weights.items()}
    write_folder(folder, tokenizer, shape, arrays)
