"""The nets of a bmodel that compute rows of any conversations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from support.bmodel_files import net, tensor

from glmd.bmodel.nets import Net, Tensor, Weight


@dataclass(frozen=True)
class RowGlm:
    """S positions; rows that there are nets for."""

    layers: int = 2
    seq_length: int = 64
    hidden: int = 256
    kv_heads: int = 2
    head_dim: int = 64
    vocab: int = 2304
    prefills: tuple[int, ...] = (32, 64)
    chunks: tuple[int, ...] = (16, 32)
    decodes: tuple[int, ...] = (1, 2, 4)
    heads: tuple[int, ...] = (1, 2, 4)

    def nets(self) -> list[Net]:
        layers = [net for layer in range(self.layers) for net in self._layer(layer)]
        rows = sorted({*self.prefills, *self.chunks, *self.decodes}, reverse=True)
        heads = sorted(self.heads, reverse=True)
        return [
            _stages(self._embedding, rows),
            *layers,
            *(_stages(make, heads) for make in (self._lm_head, self._greedy, self._top)),
        ]

    def _layer(self, layer: int) -> list[Net]:
        def made(name: str, rows: int, history: int, fresh: int, lanes: int) -> Net:
            kv = (self.kv_heads, self.head_dim)
            mask = (rows, 1, 1) if lanes > 1 else (1, 1, rows)
            return net(
                f"{name}_{layer}",
                [
                    self._hidden(rows),
                    tensor("position_ids", "i32", 1, rows),
                    tensor("attention_mask", "f16", *mask, history + fresh),
                    *[tensor("history", "f16", history, *kv)] * (2 * lanes if history else 0),
                ],
                [self._hidden(rows), *[tensor("past", "f16", fresh, *kv)] * (2 * lanes)],
                [Weight("tpu.MatMul.weight", 2 * self.hidden * self.hidden)],
                addr_mode="io_reloc",
            )

        s = self.seq_length
        nets = [
            _stages(lambda n: made("chunk", n, s, n, 1), self.chunks),
            *(made(f"decode{n if n > 1 else ''}", n, s, 1, n) for n in self.decodes),
        ]
        if self.prefills:
            nets.append(_stages(lambda n: made("prefill", n, 0, n, 1), self.prefills))
        return nets

    def _hidden(self, rows: int) -> Tensor:
        return tensor("input_states", "f16", rows, self.hidden)

    def _embedding(self, rows: int) -> Net:
        return net("embedding", [tensor("input_ids", "i32", 1, rows)], [self._hidden(rows)])

    def _lm_head(self, rows: int) -> Net:
        logits = tensor("m_logits", "f32", rows, self.vocab)
        return net("lm_head", [self._hidden(rows)], [logits])

    def _greedy(self, rows: int) -> Net:
        logits = tensor("m_logits", "f32", rows, self.vocab)
        return net("greedy_head", [logits], [tensor("token", "i32", rows, 1)], dynamic=True)

    def _top(self, rows: int) -> Net:
        logits = tensor("m_logits", "f32", rows, self.vocab)
        found = [tensor("values", "f32", rows, 64), tensor("ids", "i32", rows, 64)]
        return net("top_head", [logits], found, dynamic=True)


def _stages(make: Callable[[int], Net], rows: Iterable[int]) -> Net:
    nets = [make(n) for n in rows]
    return Net(nets[0].name, nets[0].addr_mode, tuple(s for one in nets for s in one.stages))
