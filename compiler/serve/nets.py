"""The nets of the serve recipe and their ports.

A net may have stages: the same computation for other numbers of rows, of which the device takes
the one whose shapes fit. S is the seq_length, H the hidden size, V the vocabulary; KV heads of D
values.
A conversation's position p is row p of its cache.
"""

from __future__ import annotations

from glmd.checkpoint.config import ModelConfig
from glmd.compiler.nets import Kind, Net, Port

# Prompts at position 0, and new rows behind a history. Any other number is padded to the next one.
PREFILL = (512, 256, 128, 64)
CHUNKS = (128, 64, 32, 16)

# Conversations that one step continues together.
BATCHES = (8, 4, 2, 1)

# The likeliest tokens that a host may want to draw from.
CANDIDATES = 64


def serve_nets(config: ModelConfig, seq_length: int) -> list[Net]:
    """In the order in which a token meets them; nets that share weights stand together, and of a
    net's stages the largest first: a host that makes room for the first has room for all."""
    prefill = [n for n in PREFILL if n <= seq_length] or [seq_length]
    chunks = [n for n in CHUNKS if n < seq_length]
    rows = sorted({*BATCHES, *chunks, *prefill}, reverse=True)
    nets = [_embedding(config, n) for n in rows]
    for layer in range(config.num_layers):
        nets += [_prefill(layer, config, n) for n in prefill]
        nets += [_chunk(layer, config, seq_length, n) for n in chunks]
        nets += [_decode(layer, config, seq_length, n) for n in BATCHES]
    return nets + [head for kind in _HEADS for head in (_head(kind, config, n) for n in BATCHES)]


_HEADS: tuple[Kind, ...] = ("lm_head", "greedy_head", "top_head")


def _embedding(config: ModelConfig, rows: int) -> Net:
    return Net(
        "embedding",
        "embedding",
        (Port("input_ids", "i32", (1, rows)),),
        (Port("input_embed", "f16", (rows, config.hidden_size)),),
        rows=rows,
    )


def _prefill(layer: int, config: ModelConfig, rows: int) -> Net:
    return Net(
        f"prefill_{layer}",
        "prefill",
        _inputs(config, rows, (1, 1, rows, rows)),
        _outputs(config, rows),
        layer,
        rows,
    )


def _chunk(layer: int, config: ModelConfig, seq_length: int, rows: int) -> Net:
    return Net(
        f"chunk_{layer}",
        "chunk",
        (
            *_inputs(config, rows, (1, 1, rows, seq_length + rows)),
            *_cache("history", config, seq_length),
        ),
        _outputs(config, rows),
        layer,
        rows,
    )


def _decode(layer: int, config: ModelConfig, seq_length: int, rows: int) -> Net:
    """Batches differ in the number of their inputs, so that they are nets of their own."""
    histories = [_cache("history", config, seq_length, f"_{n}") for n in range(rows)]
    new = [_cache("past", config, 1, f"_{n}") for n in range(rows)]
    hidden = Port("hidden_states", "f16", (rows, config.hidden_size))
    return Net(
        f"decode{rows if rows > 1 else ''}_{layer}",
        "decode",
        (
            *_inputs(config, rows, (rows, 1, 1, seq_length + 1)),
            *(p for pair in histories for p in pair),
        ),
        (hidden, *(port for pair in new for port in pair)),
        layer,
        rows,
    )


def _inputs(config: ModelConfig, rows: int, mask: tuple[int, ...]) -> tuple[Port, ...]:
    return (
        Port("input_states", "f16", (rows, config.hidden_size)),
        Port("position_ids", "i32", (1, rows)),
        Port("attention_mask", "f16", mask),
    )


def _outputs(config: ModelConfig, rows: int) -> tuple[Port, ...]:
    hidden = Port("hidden_states", "f16", (rows, config.hidden_size))
    return hidden, *_cache("past", config, rows)


def _cache(name: str, config: ModelConfig, rows: int, suffix: str = "") -> tuple[Port, ...]:
    shape = rows, config.multi_query_group_num, config.kv_channels
    return tuple(Port(f"{name}_{which}{suffix}", "f16", shape) for which in "kv")


def _head(kind: Kind, config: ModelConfig, rows: int) -> Net:
    logits = Port("m_logits", "f32", (rows, config.padded_vocab_size))
    candidates = rows, min(CANDIDATES, config.padded_vocab_size)
    match kind:
        case "lm_head":
            inputs = (Port("hidden_states", "f16", (rows, config.hidden_size)),)
            return Net(kind, kind, inputs, (logits,), rows=rows)
        case "greedy_head":
            return Net(kind, kind, (logits,), (Port("token", "i32", (rows, 1)),), rows=rows)
    outputs = Port("values", "f32", candidates), Port("ids", "i32", candidates)
    return Net(kind, kind, (logits,), outputs, rows=rows)
