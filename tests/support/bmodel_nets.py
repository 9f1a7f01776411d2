"""The nets of ChatGLM3 bmodels as the families in the field have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from support.bmodel_files import net, tensor

from glmd.bmodel.nets import AddrMode, Net, Tensor, Weight
from glmd.packed import Mode


@dataclass(frozen=True)
class Glm:
    """S tokens; hidden states [S, 1, H], or [1, S, H] where `rows_second`. `prefix` is that of old
    nets. `embeddings`: one net for each length, or one with two stages."""

    layers: int = 2
    seq_length: int = 64
    hidden: int = 256
    kv_heads: int = 2
    head_dim: int = 64
    vocab: int = 2304
    ffn: int = 384
    mode: Mode = "f16"
    group: int = 64
    rows_second: bool = False
    kv_form: Literal["row", "shifted"] = "shifted"
    mask: str = "f16"
    output: Literal["logits", "token"] = "logits"
    qkv: Literal["fused", "apart"] = "fused"
    heads: tuple[str, ...] = ("greedy_head", "penalty_sample_head")
    prefix: str = ""
    stages: bool = False
    devices: int = 1
    addr_mode: AddrMode = "basic"

    def nets(self) -> list[Net]:
        blocks = [
            make(layer) for layer in range(self.layers) for make in (self._block, self._cache)
        ]
        return [*self._embeddings(), *blocks, self._lm_head(), *map(self._head, self.heads)]

    def _embeddings(self) -> list[Net]:
        table = [Weight("tpu.Gather.source", 2 * self.vocab * self.hidden)]

        def of(name: str, length: int) -> Net:
            ids = self._each("input_ids", "i32", 1, length)
            return net(name, ids, self._hidden(length), table)

        prompt, token = of("embedding", self.seq_length), of("embedding_cache", 1)
        if not self.stages:
            return [prompt, token]
        return [Net("embedding", prompt.addr_mode, prompt.stages + token.stages)]

    def _block(self, layer: int) -> Net:
        length = self.seq_length
        return net(
            f"{self.prefix}block_{layer}",
            [
                *self._hidden(length),
                *self._each("position_ids", "i32", 1, length),
                *self._each("attention_mask", self.mask, 1, 1, length, length),
            ],
            [*self._hidden(length), *self._kv(length), *self._kv(length)],
            self._weights(),
        )

    def _cache(self, layer: int) -> Net:
        length = self.seq_length
        back = 1 if self.kv_form == "row" else length
        return net(
            f"{self.prefix}block_cache_{layer}",
            [
                *self._hidden(1),
                *self._each("position_ids", "i32", 1, 1),
                *self._each("attention_mask", self.mask, 1, 1, 1, length + 1),
                *self._kv(length),
                *self._kv(length),
            ],
            [*self._hidden(1), *self._kv(back), *self._kv(back)],
            self._weights(),
            addr_mode=self.addr_mode,
        )

    def _lm_head(self) -> Net:
        result = (
            ("m_logits", "f32", 1, self.vocab) if self.output == "logits" else ("id", "i32", 1, 1)
        )
        hidden = self._each("hidden_states", "f16", 1, self.hidden)
        weights = self._matrices([self.hidden * self.vocab])
        return net("lm_head", hidden, self._each(*result), weights)

    def _head(self, name: str) -> Net:
        return net(
            name,
            [tensor("m_logits", "f32", 1, self.vocab)],
            [tensor("token", "i32", 1, 1)],
            dynamic=name != "penalty_sample_head",
        )

    def _hidden(self, length: int) -> list[Tensor]:
        shape = (1, length) if self.rows_second else (length, 1)
        return self._each("input_states", "f16", *shape, self.hidden)

    def _kv(self, rows: int) -> list[Tensor]:
        shape = (1, rows) if self.rows_second else (rows, 1)
        return self._each("history", "f16", *shape, self.kv_heads, self.head_dim)

    def _each(self, name: str, dtype: str, *shape: int) -> list[Tensor]:
        return [tensor(name, dtype, *shape, device=device) for device in range(self.devices)]

    def _weights(self) -> list[Weight]:
        hidden, narrow = self.hidden, self.kv_heads * self.head_dim
        share = hidden // self.devices
        qkv = (
            [hidden * (share + 2 * narrow)]
            if self.qkv == "fused"
            else [hidden * share, hidden * narrow, hidden * narrow]
        )
        return self._matrices([*qkv, share * hidden, *[hidden * self.ffn // self.devices] * 3])

    def _matrices(self, elements: list[int]) -> list[Weight]:
        if self.mode == "f16":
            return [Weight("tpu.MatMul.weight", _pages(2 * count)) for count in elements]
        bits = {"int8": 8, "int4": 4}[self.mode]
        return [
            weight
            for count in elements
            for weight in (
                Weight("tpu.A16MatMul.weight", _pages(count * bits // 8)),
                Weight("tpu.A16MatMul.scale", _pages(2 * count // self.group)),
                Weight("tpu.A16MatMul.zp", _pages(count // self.group)),
            )
        ]


def _pages(nbytes: int) -> int:
    return -(-nbytes // 4096) * 4096
