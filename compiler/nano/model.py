"""ChatGLM3 in torch, for training. Its parameters carry the checkpoint's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from glmd.compiler.nano.shape import Shape

UNSEEN = -1e4
"""What is added to the attention score of a token that must not be seen."""


def rope_table(shape: Shape, length: int) -> Tensor:
    """cos and sin of positions × frequencies, ``[2, length, head / 4]``, float32.

    The first half of each head is rotated, in interleaved pairs, at base 10000.
    """
    rotated = shape.head // 2
    frequencies = 10000.0 ** (-torch.arange(0, rotated, 2).float() / rotated)
    angles = torch.arange(length).float()[:, None] * frequencies
    return torch.stack([angles.cos(), angles.sin()])


def rotate(heads: Tensor, table: Tensor) -> Tensor:
    """Applies the rotary embedding to `heads`, ``[batch, heads, length, head]``."""
    half = heads.shape[-1] // 2
    pairs = heads[..., :half].unflatten(-1, (-1, 2))
    even, odd = pairs.unbind(-1)
    cos, sin = table.to(heads.dtype)
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
    return torch.cat([turned, heads[..., half:]], -1)


def branch_positions(branches: Tensor) -> Tensor:
    """Positions of the tokens of `branches` (see `ChatGLM.states`), of the same shape."""
    places = torch.arange(branches.shape[1]).expand_as(branches)
    begins = torch.ones_like(branches, dtype=torch.bool)
    begins[:, 1:] = branches[:, 1:] != branches[:, :-1]
    last_begin = torch.where(begins, places, 0).cummax(1).values
    shared = (branches == 0).sum(1, keepdim=True)
    return torch.where(branches == 0, places, places - last_begin + shared)


@dataclass
class Watch:
    """Attention scores to be looked at, of one layer: those of head ``heads[i]`` in row ``rows[i]``
    from position ``origins[i]`` become ``scores[i]``, ``[length]``, before the softmax."""

    rows: Tensor
    heads: Tensor
    origins: Tensor
    scores: Tensor | None = None


class SelfAttention(nn.Module):
    """Causal attention with fused query, key and value and shared key/value groups."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.query_key_value = nn.Linear(shape.hidden, shape.qkv)
        self.dense = nn.Linear(shape.heads * shape.head, shape.hidden, bias=False)

    def forward(
        self, hidden: Tensor, table: Tensor, unseen: Tensor, watch: Watch | None = None
    ) -> Tensor:
        shape = self.shape
        heads = self.query_key_value(hidden).unflatten(-1, (-1, shape.head)).transpose(1, 2)
        query, key, value = heads.split([shape.heads, shape.groups, shape.groups], dim=1)
        # The query heads of a group are stacked, so that they share its key and value uncopied.
        # Written out: on the CPU in bfloat16 this trains twice as fast as torch's fused attention.
        length, share = hidden.shape[1], shape.heads // shape.groups
        stacked = (-1, share * length, shape.head)
        query = (rotate(query, table) * shape.head**-0.5).reshape(stacked)
        key = rotate(key, table).flatten(0, 1)
        scores = torch.baddbmm(unseen.to(query.dtype), query, key.transpose(1, 2))
        if watch is not None:
            group, head = watch.heads // share, watch.heads % share
            watch.scores = scores[watch.rows * shape.groups + group, head * length + watch.origins]
        mixed = torch.bmm(scores.softmax(-1).to(value.dtype), value.flatten(0, 1))
        mixed = mixed.reshape(-1, shape.heads, length, shape.head)
        return self.dense(mixed.transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    """SwiGLU; the first projection holds gate and up, one above the other."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(shape.hidden, 2 * shape.ffn, bias=False)
        self.dense_4h_to_h = nn.Linear(shape.ffn, shape.hidden, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        gate, up = self.dense_h_to_4h(hidden).chunk(2, dim=-1)
        return self.dense_4h_to_h(functional.silu(gate) * up)


class Layer(nn.Module):
    """One transformer block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=1e-5)
        self.self_attention = SelfAttention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=1e-5)
        self.mlp = Mlp(shape)

    def forward(
        self, hidden: Tensor, table: Tensor, unseen: Tensor, watch: Watch | None = None
    ) -> Tensor:
        hidden = hidden + self.self_attention(self.input_layernorm(hidden), table, unseen, watch)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class ChatGLM(nn.Module):
    """Token ids ``[batch, length]`` to logits ``[batch, length, vocabulary]``, positions from 0."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.transformer = nn.ModuleDict(
            {
                "embedding": nn.ModuleDict(
                    {"word_embeddings": nn.Embedding(shape.vocabulary, shape.hidden)}
                ),
                "encoder": nn.ModuleDict(
                    {
                        "layers": nn.ModuleList(Layer(shape) for _ in range(shape.layers)),
                        "final_layernorm": nn.RMSNorm(shape.hidden, eps=1e-5),
                    }
                ),
                "output_layer": nn.Linear(shape.hidden, shape.vocabulary, bias=False),
            }
        )
        self.register_buffer("rope", rope_table(shape, shape.context), persistent=False)

    def states(
        self,
        ids: Tensor,
        branches: Tensor | None = None,
        watches: Mapping[int, Watch] = MappingProxyType({}),
    ) -> Tensor:
        """What the output layer reads, ``[batch, length, hidden]``.

        `branches`, ``[batch, length]``: rows may hold a beginning (0) and several ways to go on
        from it (1, 2…) behind one another. Each branch then sees the beginning and itself, at the
        positions it would have if it followed the beginning at once.

        `watches`, by layer, are given the attention scores they ask for.
        """
        length, shape = ids.shape[1], self.shape
        share = shape.heads // shape.groups
        unseen = torch.full((length, length), UNSEEN).triu(1)
        table = self.rope[:, :length]
        if branches is None:
            unseen = unseen.repeat(share, 1)
        else:
            other = (branches[:, None] != branches[:, :, None]) & (branches[:, None] != 0)
            unseen = unseen.masked_fill(other, UNSEEN).to(torch.bfloat16)
            unseen = unseen.repeat(1, share, 1).repeat_interleave(shape.groups, 0)
            table = table[:, branch_positions(branches)].unsqueeze(2)
        encoder = self.transformer["encoder"]
        hidden = self.transformer["embedding"]["word_embeddings"](ids)
        for number, layer in enumerate(encoder["layers"]):
            hidden = layer(hidden, table, unseen, watches.get(number))
        return encoder["final_layernorm"](hidden)

    def forward(self, ids: Tensor) -> Tensor:
        return self.transformer["output_layer"](self.states(ids))
