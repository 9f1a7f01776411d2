"""The seed recipe's nets on one prompt and one token behind it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from glmd.checkpoint.folder import Checkpoint
from glmd.compiler.build import Build
from glmd.compiler.nets import Net
from glmd.compiler.seed.modules import build_module
from glmd.compiler.seed.nets import seed_nets
from glmd.compiler.verify.reference import (
    MASKED,
    SEED,
    Expected,
    computed,
    device_weights,
    rounded,
)

_TOP_P, _TEMPERATURE, _PENALTY = 0.8, 0.7, 1.1


def seed_expectations(checkpoint: Checkpoint, build: Build) -> Iterator[Expected]:
    """Net by net, in the model's order."""
    weights = device_weights(checkpoint, build)
    reference = _Reference(checkpoint, build)
    for net in seed_nets(checkpoint.config, build.seq_length):
        module = build_module(net, checkpoint.config, build.seq_length, weights)
        inputs = rounded(net, reference.inputs(net))
        outputs = computed(module, net, inputs)
        reference.keep(net, outputs)
        rows = reference.length if net.kind == "block" else None
        yield Expected(net, inputs, [output.float().numpy() for output in outputs], rows)


class _Reference:
    """The state of the conversation between two nets."""

    def __init__(self, checkpoint: Checkpoint, build: Build) -> None:
        total = build.seq_length
        random = torch.Generator().manual_seed(SEED)
        ids = torch.randint(checkpoint.config.padded_vocab_size, (1, total), generator=random)
        self.length = max(1, total * 3 // 4)
        self.ids = torch.where(torch.arange(total) < self.length, ids, 0)
        self.token = ids[:, -1:]
        self.prompt = self.one = self.logits = torch.empty(0)
        self.cache: tuple[Tensor, ...] = ()

    def inputs(self, net: Net) -> tuple[Tensor, ...]:
        total, length = self.ids.shape[1], self.length
        positions = torch.arange(total)
        match net.kind:
            case "embedding":
                return (self.ids if net.inputs[0].shape[1] > 1 else self.token,)
            case "block":
                mask = torch.full((1, 1, total, total), MASKED)
                mask[..., :length, :length] = torch.full((length, length), MASKED).triu(1)
                return self.prompt, torch.where(positions < length, positions, 0)[None], mask
            case "block_cache":
                mask = torch.zeros(1, 1, 1, total + 1)
                mask[..., : total - length] = MASKED
                key, value = (rows.roll(total - length, 0) for rows in self.cache)
                return self.one, torch.tensor([[length]]), mask, key, value
            case "lm_head":
                return (self.prompt[length - 1],)
            case "greedy_head":
                return (self.logits,)
            case "penalty_sample_head":
                numbers = (torch.tensor([x]) for x in (_TOP_P, _TEMPERATURE, _PENALTY))
                return self.logits, self.ids, *numbers
        raise ValueError(f"{net.kind} is no net of the seed recipe")

    def keep(self, net: Net, outputs: list[Tensor]) -> None:
        """What later nets start from."""
        match net.name.rstrip("0123456789"):
            case "embedding":
                self.prompt = outputs[0]
            case "embedding_cache":
                self.one = outputs[0]
            case "block_":
                self.prompt, *cache = outputs
                self.cache = tuple(cache)
            case "block_cache_":
                self.one = outputs[0]
            case "lm_head":
                self.logits = outputs[0]
