"""The seed recipe's nets in torch, written for export: every shape is fixed, the mask is added,
attention is spelled out, and the positions are looked up in a table of cosines and sines."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.names import EMBEDDING, FINAL_NORM, OUTPUT
from glmd.compiler.nets import Net
from glmd.compiler.seed.weights import Weights

KEPT = 5  # candidates that top_p never takes away
DROPPED = -1000.0


def build_module(net: Net, config: ModelConfig, seq_length: int, weights: Weights) -> nn.Module:
    """The module that computes `net`; only its weights are read."""
    match net.kind:
        case "embedding":
            return Embedding(weights)
        case "block":
            return Block(net, config, seq_length, weights)
        case "block_cache":
            return BlockCache(net, config, seq_length, weights)
        case "lm_head":
            return LmHead(config, weights)
        case "greedy_head":
            return GreedyHead()
        case "penalty_sample_head":
            return PenaltySampleHead(net.outputs[0].shape[1])
    raise ValueError(f"{net.kind} is no net of the seed recipe")


class RmsNorm(nn.Module):
    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.epsilon = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        variance = hidden.pow(2).mean(-1, keepdim=True)
        return hidden * torch.rsqrt(variance + self.epsilon) * self.weight


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A layer around tensors that are there: nothing is allocated or drawn for it."""
    layer = nn.Linear(1, 1, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


class Embedding(nn.Module):
    """Token ids [1, S] to hidden [S, 1, H]."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.table = nn.Parameter(weights(EMBEDDING), requires_grad=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.embedding(input_ids, self.table).transpose(0, 1)


class Rope(nn.Module):
    """Turns the first half of each head, in interleaved pairs (2i, 2i + 1)."""

    def __init__(self, config: ModelConfig, seq_length: int) -> None:
        super().__init__()
        rotated = config.kv_channels // 2
        exponents = torch.arange(0, rotated, 2, dtype=torch.float64) / rotated
        positions = torch.arange(seq_length, dtype=torch.float64)
        angles = positions[:, None] * config.rope_base**-exponents
        self.cos = nn.Parameter(angles.cos().float(), requires_grad=False)
        self.sin = nn.Parameter(angles.sin().float(), requires_grad=False)

    def angles(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [S, 1, 1, D / 4] of positions [1, S]."""
        shape = -1, 1, 1, self.cos.shape[1]
        return self.cos[position_ids].reshape(shape), self.sin[position_ids].reshape(shape)

    def forward(self, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`heads`: [S, 1, heads, D]."""
        half = heads.shape[-1] // 2
        even, odd = heads[..., 0:half:2], heads[..., 1:half:2]
        turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1)
        return torch.cat([turned.reshape(*heads.shape[:-1], half), heads[..., half:]], -1)


class Layer(nn.Module):
    """What the prompt's net and the token's net of a layer have in common."""

    def __init__(self, net: Net, config: ModelConfig, seq_length: int, weights: Weights) -> None:
        super().__init__()
        prefix = f"transformer.encoder.layers.{net.layer}"
        self.config = config
        self.rope = Rope(config, seq_length)
        self.attention_norm = self._norm(weights(f"{prefix}.input_layernorm.weight"))
        self.mlp_norm = self._norm(weights(f"{prefix}.post_attention_layernorm.weight"))
        attention = f"{prefix}.self_attention"
        self.query_key_value = linear(
            weights(f"{attention}.query_key_value.weight"),
            weights(f"{attention}.query_key_value.bias"),
        )
        self.dense = linear(weights(f"{attention}.dense.weight"))
        gate, up = weights(f"{prefix}.mlp.dense_h_to_4h.weight").chunk(2)
        self.gate, self.up = linear(gate), linear(up)
        self.down = linear(weights(f"{prefix}.mlp.dense_4h_to_h.weight"))

    def _norm(self, weight: Tensor) -> RmsNorm:
        return RmsNorm(weight, self.config.layernorm_epsilon)

    def project(self, hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query [S, 1, heads, D], key and value [S, 1, KV, D]."""
        config = self.config
        length, heads, groups = (
            hidden.shape[0],
            config.num_attention_heads,
            config.multi_query_group_num,
        )
        mixed = self.query_key_value(self.attention_norm(hidden))
        mixed = mixed.reshape(length, 1, heads + 2 * groups, config.kv_channels)
        query, key, value = mixed.split([heads, groups, groups], dim=2)
        angles = self.rope.angles(position_ids)
        return self.rope(query, *angles), self.rope(key, *angles), value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """[S, 1, heads × D]: each group of query heads reads the one KV head that it shares."""
        config = self.config
        length, past = query.shape[0], key.shape[0]
        groups, width = config.multi_query_group_num, config.kv_channels
        share = config.num_attention_heads // groups
        query = query.reshape(length, groups, share, width).permute(1, 2, 0, 3)
        query = query.reshape(groups, share * length, width) * width**-0.5
        scores = query @ key.reshape(past, groups, width).permute(1, 2, 0)
        scores = scores.reshape(groups, share, length, past) + mask
        shares = scores.softmax(-1).reshape(groups, share * length, past)
        mixed = shares @ value.reshape(past, groups, width).permute(1, 0, 2)
        mixed = mixed.reshape(groups, share, length, width).permute(2, 0, 1, 3)
        return mixed.reshape(length, 1, config.projection_size)

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """Both residuals and the SwiGLU between them."""
        hidden = hidden + self.dense(attended)
        normed = self.mlp_norm(hidden)
        # Up before gate: the compiler then keeps the three steps in one group.
        up = self.up(normed)
        return hidden + self.down(functional.silu(self.gate(normed)) * up)


class Block(Layer):
    """A layer over a whole prompt: hidden [S, 1, H], keys and values [S, 1, KV, D]."""

    def forward(
        self, input_states: Tensor, position_ids: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.project(input_states, position_ids)
        attended = self.attend(query, key, value, attention_mask)
        return self.finish(input_states, attended), key, value


class BlockCache(Layer):
    """A layer over one token behind a cache of S rows, which comes back shifted by one."""

    def forward(
        self,
        input_states: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        history_k: Tensor,
        history_v: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.project(input_states, position_ids)
        key, value = torch.cat([history_k, key]), torch.cat([history_v, value])
        attended = self.attend(query, key, value, attention_mask)
        return self.finish(input_states, attended), key[1:], value[1:]


class LmHead(nn.Module):
    """Hidden [1, H] through the final norm to logits [1, V]."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        super().__init__()
        self.norm = RmsNorm(weights(FINAL_NORM), config.layernorm_epsilon)
        self.output = linear(weights(OUTPUT))

    def forward(self, hidden_states: Tensor) -> Tensor:
        logits: Tensor = self.output(self.norm(hidden_states))
        return logits


class GreedyHead(nn.Module):
    def forward(self, m_logits: Tensor) -> Tensor:
        return torch.topk(m_logits, 1)[1]


class PenaltySampleHead(nn.Module):
    """The likeliest tokens and what to draw them by: repetition penalty on the logits of
    `input_ids`, temperature, top_p with at least KEPT candidates."""

    def __init__(self, candidates: int) -> None:
        super().__init__()
        self.candidates = candidates
        kept = torch.arange(candidates) < KEPT
        self.kept = nn.Parameter(kept.float()[None], requires_grad=False)

    def forward(
        self,
        m_logits: Tensor,
        input_ids: Tensor,
        top_p: Tensor,
        temperature: Tensor,
        penalty: Tensor,
    ) -> tuple[Tensor, Tensor]:
        seen = torch.gather(m_logits, 1, input_ids)
        seen = torch.where(seen < 0, seen * penalty, seen / penalty)
        logits, token = torch.topk(m_logits.scatter(1, input_ids, seen), self.candidates)
        logits = logits / temperature
        below = logits.softmax(-1).cumsum(-1) < top_p
        kept = (below.float() + self.kept) > 0
        probs = torch.where(kept, logits, torch.full_like(logits, DROPPED)).softmax(-1)
        return probs, token
