"""A layer of the model behind the rows that are new, whatever lies before them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from glmd.checkpoint.config import ModelConfig
from glmd.compiler.nets import Net
from glmd.compiler.serve.dialect import Graph, Value
from glmd.compiler.serve.row import attend_row
from glmd.compiler.serve.weights import ROTARY, layer_prefix


@dataclass
class Layer:
    """`seq_length`: rows of the tables of cosines and sines."""

    graph: Graph
    config: ModelConfig
    net: Net
    seq_length: int

    def write(self) -> str:
        graph = self.graph
        states, positions, mask, *caches = (graph.input(port) for port in self.net.inputs)
        # A leading axis of one everywhere: the compiler cuts groups of operations by the second. It
        # computes wrong numbers where rows and KV heads are as many and rows come first.
        hidden = graph.reshape(states, (1, *states.shape))
        history = [graph.reshape(cache, (1, *cache.shape)) for cache in caches]
        normed = self._norm(hidden, "input_layernorm")
        # Between norm and products: elsewhere the compiler lays the weights of some mode out in an
        # order of their own for batches, and they are stored twice.
        masks = self._rows(mask, 0) if self.net.kind == "decode" else [mask]
        query, key, value = self._project(normed, positions)
        if self.net.kind == "decode":
            attended, rows = self._decode(query, key, value, masks, history)
        else:
            attended, rows = self._attend(history, query, key, value, mask), [key, value]
        hidden = self._finish(hidden, attended)
        outputs = [hidden, *rows]
        return graph.text(
            [
                graph.reshape(value, port.shape, port.name)
                for value, port in zip(outputs, self.net.outputs, strict=True)
            ]
        )

    def _project(self, normed: Value, positions: Value) -> tuple[Value, Value, Value]:
        """Query [1, L, heads, D], key and value [1, L, KV, D], the first two turned."""
        graph, config = self.graph, self.config
        length, heads, groups = (
            normed.shape[1],
            config.num_attention_heads,
            config.multi_query_group_num,
        )
        cos, sin = self._angles(positions)
        parts = []
        for name, count in (("query", heads), ("key", groups), ("value", groups)):
            size = count * config.kv_channels
            mixed = graph.matmul(
                normed,
                self._weight(f"self_attention.{name}.weight", config.hidden_size, size),
                self._weight(f"self_attention.{name}.bias", 1, 1, size),
            )
            parts.append(graph.reshape(mixed, (1, length, count, config.kv_channels)))
        query, key, value = parts
        return self._turn(query, cos, sin), self._turn(key, cos, sin), value

    def _angles(self, positions: Value) -> tuple[Value, Value]:
        """Cosines and sines [1, L, 1, D / 4]: of the first half of a head, in pairs."""
        graph, width = self.graph, self.config.kv_channels // 4
        table = graph.weight(ROTARY, (self.seq_length, 2 * width))
        rows = graph.gather(table, positions)
        both = graph.reshape(rows, (1, positions.shape[1], 1, 2 * width))
        return graph.slice(both, 3, 0, width), graph.slice(both, 3, width, 2 * width)

    def _turn(self, heads: Value, cos: Value, sin: Value) -> Value:
        """A head is: first members of all pairs, second members, and what is not turned."""
        graph, width = self.graph, self.config.kv_channels
        quarter, half = width // 4, width // 2
        one = graph.slice(heads, 3, 0, quarter)
        two = graph.slice(heads, 3, quarter, half)
        rest = graph.slice(heads, 3, half, width)
        turned = [
            graph.sub(graph.mul(one, cos), graph.mul(two, sin)),
            graph.add(graph.mul(two, cos), graph.mul(one, sin)),
        ]
        return graph.concat([*turned, rest], 3)

    def _attend(
        self, history: Sequence[Value], query: Value, key: Value, value: Value, mask: Value
    ) -> Value:
        """[1, L, heads × D]: attention to a history, if there is one, and to the new rows."""
        if history:
            key = self.graph.concat([history[0], key], 1)
            value = self.graph.concat([history[1], value], 1)
        return self.graph.attention(query, key, value, mask)

    def _decode(
        self,
        query: Value,
        key: Value,
        value: Value,
        masks: Sequence[Value],
        history: Sequence[Value],
    ) -> tuple[Value, list[Value]]:
        """Row by row, each behind a history of its own."""
        parts = zip(*(self._rows(part, 1) for part in (query, key, value)), masks, strict=True)
        attended: list[Value] = []
        rows: list[Value] = []
        for n, mine in enumerate(parts):
            attended.append(attend_row(self.graph, history[2 * n : 2 * n + 2], *mine))
            rows += mine[1:3]
        return attended[0] if len(attended) == 1 else self.graph.concat(attended, 1), rows

    def _rows(self, value: Value, axis: int) -> list[Value]:
        count = value.shape[axis]
        if count == 1:
            return [value]
        return [self.graph.slice(value, axis, n, n + 1) for n in range(count)]

    def _finish(self, hidden: Value, attended: Value) -> Value:
        """Both residuals and the SwiGLU between them."""
        graph, config = self.graph, self.config
        size, ffn = config.hidden_size, config.ffn_hidden_size
        dense = self._weight("self_attention.dense.weight", config.projection_size, size)
        hidden = graph.add(hidden, graph.matmul(attended, dense))
        normed = self._norm(hidden, "post_attention_layernorm")
        # Up before gate: the compiler then keeps the three steps in one group.
        up = graph.matmul(normed, self._weight("mlp.up.weight", size, ffn))
        gate = graph.matmul(normed, self._weight("mlp.gate.weight", size, ffn))
        inner = graph.mul(graph.silu(gate), up)
        down = graph.matmul(inner, self._weight("mlp.dense_4h_to_h.weight", ffn, size))
        return graph.add(hidden, down)

    def _norm(self, hidden: Value, name: str) -> Value:
        weight = self._weight(f"{name}.weight", 1, 1, self.config.hidden_size)
        return self.graph.rms_norm(hidden, weight, self.config.layernorm_epsilon)

    def _weight(self, name: str, *shape: int) -> Value:
        return self.graph.weight(f"{layer_prefix(self.net)}.{name}", shape)
