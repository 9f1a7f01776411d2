"""The nets of a layer that compute rows of any conversations, each told where its keys and values
lie.

S: positions of a history; L, B: rows, a stage or a net for each; H: hidden size; KV heads of D.

    prefill  hidden [L,H], position ids, mask [1,1,L,L]                   → hidden, K, V [L,KV,D]
    chunk    hidden [L,H], position ids, mask [1,1,L,S+L], K, V [S,KV,D]  → hidden, K, V [L,KV,D]
    decode   hidden [B,H], position ids, mask [B,1,1,S+1], B times K, V   → hidden, B times K, V

`decode_I` is for one row, `decode4_I` for four: they differ in the number of their inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from glmd.bmodel.layers import Unexpected, Width
from glmd.bmodel.nets import Bmodel, Net, Stage

LAYER = re.compile(r"(prefill|chunk|decode)\d*_(\d+)")


@dataclass(frozen=True)
class RowLayers:
    """What the layers have in common: S, and the rows that there are nets for, ascending.
    `decode`, `prompt`: a net of the first layer that takes single tokens, and one that takes
    several."""

    count: int
    seq_length: int
    width: Width
    prefills: tuple[int, ...]
    chunks: tuple[int, ...]
    decodes: tuple[int, ...]
    decode: Net
    prompt: Net


def has_row_layers(bmodel: Bmodel) -> bool:
    return bmodel.net("decode_0") is not None or bmodel.net("chunk_0") is not None


def read_row_layers(bmodel: Bmodel) -> RowLayers:
    """Raises Unexpected."""
    layers = _layers(bmodel)
    first = layers[0]
    decode = min(first["decode"], key=lambda net: _rows(net.stages[0]))
    stage = decode.stages[0]
    if len(stage.inputs) < 5 or len(stage.inputs[3].shape) != 3:
        raise Unexpected(f"{decode.name} takes {_listed(stage)}", "K and V [S,KV,D] at the end")
    hidden, _, mask, key, *_ = stage.inputs
    width = Width(hidden.shape[-1], key.shape[1], key.shape[2], hidden.dtype, mask.dtype)
    seq_length = key.shape[0]
    for kinds in layers:
        for kind, nets in kinds.items():
            if _counts(nets) != _counts(first[kind]):
                raise Unexpected(
                    f"{kind} has {_counts(nets)} rows in one layer and {_counts(first[kind])} in "
                    "another",
                    "the same in all",
                )
            for net in nets:
                for stage in net.stages:
                    _check(net.name, stage, kind, seq_length, width)
    chunks = first["chunk"]
    return RowLayers(
        count=len(layers),
        seq_length=seq_length,
        width=width,
        prefills=_counts(first["prefill"]),
        chunks=_counts(chunks),
        decodes=_counts(first["decode"]),
        decode=decode,
        prompt=(first["prefill"] or chunks)[0],
    )


def _layers(bmodel: Bmodel) -> list[dict[str, list[Net]]]:
    """The nets of each layer by kind."""
    found: dict[int, dict[str, list[Net]]] = {}
    for net in bmodel.nets:
        if match := LAYER.fullmatch(net.name):
            kinds = found.setdefault(int(match[2]), {"prefill": [], "chunk": [], "decode": []})
            kinds[match[1]].append(net)
    for number in range(max(found) + 1):
        for kind in ("chunk", "decode"):
            if number not in found or not found[number][kind]:
                raise Unexpected(f"it has no {kind}_{number}", f"one for each of {len(found)}")
    return [found[number] for number in sorted(found)]


def _check(name: str, stage: Stage, kind: str, seq_length: int, width: Width) -> None:
    """That the tensors are as large as they must be for the rows of the stage."""
    rows = _rows(stage)
    history = 0 if kind == "prefill" else seq_length
    fresh, lanes = (1, rows) if kind == "decode" else (rows, 1)
    kv = width.kv_heads * width.head_dim
    inputs = [rows * width.hidden, rows, rows * (history + fresh)]
    inputs += [history * kv] * (2 * lanes if history else 0)
    outputs = [rows * width.hidden] + [fresh * kv] * (2 * lanes)
    if [tensor.elements for tensor in stage.inputs] != inputs:
        raise Unexpected(
            f"{name} takes {_listed(stage)}",
            f"hidden states, position ids and a mask for {rows} rows"
            + (f", K and V of {history} positions" if history else ""),
        )
    if [tensor.elements for tensor in stage.outputs] != outputs:
        returned = ", ".join(map(str, stage.outputs))
        raise Unexpected(f"{name} returns {returned}", f"hidden states, {fresh} rows of K and V")


def _rows(stage: Stage) -> int:
    hidden = stage.inputs[0]
    return hidden.elements // hidden.shape[-1]


def _counts(nets: Iterable[Net]) -> tuple[int, ...]:
    return tuple(sorted(_rows(stage) for net in nets for stage in net.stages))


def _listed(stage: Stage) -> str:
    return ", ".join(map(str, stage.inputs)) or "nothing"
