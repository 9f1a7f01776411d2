"""The serve recipe's nets on one conversation that fills the cache: each net, in each of its
stages, at some place of it.

The layers are the seed recipe's, in the checkpoint's own order of heads; only the rows of keys are
put in the order that the device has them in. Rows of a history behind the conversation's length
hold numbers that would show if a mask let them through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.nets import Net
from glmd.compiler.seed.modules import Embedding, GreedyHead, Layer, LmHead
from glmd.compiler.serve.nets import serve_nets
from glmd.compiler.serve.weights import half_order
from glmd.compiler.verify.reference import (
    MASKED,
    SEED,
    Expected,
    computed,
    device_weights,
    rounded,
)

_BEHIND = 3.0  # of what lies in a cache behind the conversation


def serve_expectations(checkpoint: Checkpoint, build: Build) -> Iterator[Expected]:
    """Net by net, in the model's order."""
    config = checkpoint.config
    weights = device_weights(checkpoint, build)
    total = build.seq_length
    random = torch.Generator().manual_seed(SEED)
    ids = torch.randint(config.padded_vocab_size, (1, total), generator=random)
    embedding, head = Embedding(weights), LmHead(config, weights)
    hidden = embedding(ids)[:, 0]
    logits = torch.empty(0)
    layer: _LayerReference | None = None
    for net in serve_nets(config, total):
        rows = net.outputs[0].shape[0]
        run: Callable[..., Tensor | tuple[Tensor, ...]]
        match net.kind:
            case "embedding":
                given, run = [ids[:, :rows]], lambda ids: embedding(ids)[:, 0]
            case "lm_head":
                hidden = layer.output if layer else hidden
                layer = None
                given, run = [hidden[-rows:]], head
                logits = torch.cat([logits, head(hidden[-rows:]).detach()])[:rows]
            case "greedy_head":
                given, run = [logits[:rows]], GreedyHead()
            case "top_head":
                given, run = [logits[:rows]], partial(_top, net.outputs[0].shape[1])
            case _:
                if layer is None or net.layer != layer.number:
                    hidden = layer.output if layer else hidden
                    layer = _LayerReference(net, config, total, weights, hidden)
                given, run = layer.inputs(net), layer.run
        inputs = rounded(net, given)
        outputs = computed(run, net, inputs)
        yield Expected(net, inputs, [output.float().numpy() for output in outputs])


class _LayerReference:
    """One layer over the whole conversation `hidden` [S, H], for the places that nets look at."""

    def __init__(
        self,
        net: Net,
        config: ModelConfig,
        total: int,
        weights: Callable[[str], Tensor],
        hidden: Tensor,
    ) -> None:
        self.number = net.layer
        self._layer = Layer(net, config, total, weights)
        self._hidden = hidden
        self._total = total
        self._order = torch.from_numpy(half_order(config.kv_channels))
        with torch.no_grad():
            self.output, *cache = self.run(
                hidden, torch.arange(total)[None], _causal(total)[None, None]
            )
        self._cache = cache
        self._behind = torch.full_like(cache[0], _BEHIND)

    def inputs(self, net: Net) -> list[Tensor]:
        rows = net.inputs[0].shape[0]
        match net.kind:
            case "prefill":
                return [self._hidden[:rows], torch.arange(rows)[None], _causal(rows)[None, None]]
            case "chunk":
                start = (self._total - rows) * 3 // 4
                mask = torch.cat([self._seen(start).expand(rows, -1), _causal(rows)], 1)
                places = torch.arange(start, start + rows)
                return [
                    self._hidden[places],
                    places[None],
                    mask[None, None],
                    *self._history(start),
                ]
        # Conversations of different lengths: one fills its cache, of several one has no past.
        places = torch.linspace(self._total - 1, 0, rows).long()
        masks = [torch.cat([self._seen(int(n)), torch.zeros(1)]) for n in places]
        histories = [rows for n in places for rows in self._history(int(n))]
        return [
            self._hidden[places],
            places[None],
            torch.stack(masks)[:, None, None],
            *histories,
        ]

    def run(
        self, hidden: Tensor, positions: Tensor, mask: Tensor, *history: Tensor
    ) -> tuple[Tensor, ...]:
        """What a net gives for its inputs: [L, H], then the new rows of keys and values."""
        layer = self._layer
        query, key, value = layer.project(hidden[:, None], positions)
        new = [key[:, 0][..., self._order], value[:, 0]]
        if mask.shape[0] == 1 and len(history) in (0, 2):
            attended = self._attend(query, new, mask, history)
            return layer.finish(hidden[:, None], attended)[:, 0], *new
        attended, rows = [], []
        for n in range(len(hidden)):
            mine = [part[n : n + 1] for part in new]
            rows += mine
            attended.append(
                self._attend(query[n : n + 1], mine, mask[n : n + 1], history[2 * n : 2 * n + 2])
            )
        return layer.finish(hidden[:, None], torch.cat(attended))[:, 0], *rows

    def _attend(
        self, query: Tensor, new: list[Tensor], mask: Tensor, history: tuple[Tensor, ...]
    ) -> Tensor:
        old = history or (torch.empty(0),) * 2
        keys, values = (torch.cat(parts) for parts in zip(old, new, strict=True))
        keys = keys[..., self._order.argsort()]
        return self._layer.attend(query, keys[:, None], values[:, None], mask)

    def _history(self, length: int) -> list[Tensor]:
        return [torch.cat([rows[:length], self._behind[length:]]) for rows in self._cache]

    def _seen(self, length: int) -> Tensor:
        return torch.where(torch.arange(self._total) < length, 0, MASKED)


def _top(count: int, logits: Tensor) -> tuple[Tensor, ...]:
    values, ids = torch.topk(logits, count)
    return values, ids


def _causal(rows: int) -> Tensor:
    return torch.full((rows, rows), MASKED).triu(1)
