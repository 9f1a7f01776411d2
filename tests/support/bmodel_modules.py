"""The torch modules behind the forms of support.bmodels. Imported only where torch is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.nets import Net
from glmd.compiler.seed.modules import Layer, build_module
from glmd.compiler.seed.weights import checkpoint_weights

if TYPE_CHECKING:
    from support.bmodels import Form


def form_module(checkpoint: Checkpoint, net: Net, form: Form) -> nn.Module:
    weights = checkpoint_weights(checkpoint)
    module = build_module(net, checkpoint.config, form.seq_length, weights)
    if net.kind == "block_cache" and form.rows:
        module = NewRow(net, checkpoint.config, form.seq_length, weights)
    if net.kind in ("block", "block_cache") and form.old:
        module = Flags(module)
    if net.kind in ("embedding", "block", "block_cache") and form.batch_first:
        module = BatchFirst(module, net.kind != "embedding")
    if net.kind == "lm_head" and form.head == "token":
        module = Token(module)
    if net.name == "sample_head":
        module = SampleHead(module)
    return module


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner


class NewRow(Layer):
    """A BlockCache that returns the row it adds. Written anew: a slice of BlockCache's own outputs
    comes out of TPU-MLIR 1.30.2 as other rows."""

    def forward(
        self, hidden: Tensor, positions: Tensor, mask: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.project(hidden, positions)
        attended = self.attend(query, torch.cat([keys, key]), torch.cat([values, value]), mask)
        return self.finish(hidden, attended), key, value


class Flags(Wrapped):
    """1 hides a position."""

    def forward(self, hidden: Tensor, positions: Tensor, mask: Tensor, *cache: Tensor) -> Tensor:
        out: Tensor = self.inner(hidden, positions, mask * -10000.0, *cache)
        return out


class BatchFirst(nn.Module):
    def __init__(self, inner: nn.Module, takes_hidden: bool) -> None:
        super().__init__()
        self.inner = inner
        self.takes_hidden = takes_hidden

    def forward(self, first: Tensor, *rest: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not self.takes_hidden:
            states: Tensor = self.inner(first)
            return states.transpose(0, 1)
        hidden, *cache = self.inner(first.transpose(0, 1), *rest)
        return hidden.transpose(0, 1), *cache


class Token(Wrapped):
    def forward(self, hidden: Tensor) -> Tensor:
        return torch.topk(self.inner(hidden), 1)[1]


class SampleHead(Wrapped):
    """In the order of TPU-MLIR's own, with a top_k that takes candidates out of play."""

    def forward(
        self,
        m_logits: Tensor,
        input_ids: Tensor,
        penalty: Tensor,
        temperature: Tensor,
        top_k: Tensor,
        top_p: Tensor,
    ) -> tuple[Tensor, Tensor]:
        probs, token = self.inner(m_logits, input_ids, top_p, temperature, penalty)
        within = torch.arange(probs.shape[-1]) < top_k
        return probs * within, token
