"""What stands before the layers and behind them."""

from __future__ import annotations

from glmd.checkpoint.config import ModelConfig
from glmd.checkpoint.names import EMBEDDING, FINAL_NORM, OUTPUT
from glmd.compiler.nets import Net
from glmd.compiler.serve.dialect import Graph


def embedding(graph: Graph, net: Net, config: ModelConfig) -> str:
    table = graph.weight(EMBEDDING, (config.padded_vocab_size, config.hidden_size))
    rows = graph.gather(table, graph.input(net.inputs[0]))
    return graph.text([graph.reshape(rows, net.outputs[0].shape, "input_embed")])


def lm_head(graph: Graph, net: Net, config: ModelConfig) -> str:
    norm = graph.weight(FINAL_NORM, (1, config.hidden_size))
    normed = graph.rms_norm(graph.input(net.inputs[0]), norm, config.layernorm_epsilon)
    matrix = graph.weight(OUTPUT, (config.hidden_size, config.padded_vocab_size))
    return graph.text([graph.matmul(normed, matrix, name="m_logits")])


def greedy_head(graph: Graph, net: Net) -> str:
    _, token = graph.top(graph.input(net.inputs[0]), 1, ("value", "token"))
    return graph.text([token])


def top_head(graph: Graph, net: Net) -> str:
    count = net.outputs[0].shape[1]
    return graph.text([*graph.top(graph.input(net.inputs[0]), count, ("values", "ids"))])
