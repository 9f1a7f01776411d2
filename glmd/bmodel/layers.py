"""The two nets of a layer: `block` reads a prompt, `block_cache` one token behind the KV cache.

S: rows of hidden states or of the cache; H: hidden size; KV heads of D values.

    block        hidden [S,1,H] or [1,S,H], position ids, mask [1,1,S,S]  →  hidden, K, V
    block_cache  hidden [1,1,H], position ids, mask [1,1,1,S+1], K, V     →  hidden, K, V

K and V are [S,1,KV,D] or [1,S,KV,D].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from glmd.bmodel.nets import Stage, Tensor

HiddenLayout = Literal["[S,1,H]", "[1,S,H]", "[S,H]"]
KvForm = Literal["row", "shifted"]

_FLOATS = ("f16", "bf16", "f32")


class Unexpected(ValueError):
    """A net that is not as it should be; the message goes behind "…: "."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"{found} (expected: {expected})")


@dataclass(frozen=True)
class Width:
    """What all nets of a model have in common."""

    hidden: int
    kv_heads: int
    head_dim: int
    dtype: str
    mask_dtype: str

    def __str__(self) -> str:
        return (
            f"hidden {self.hidden}, KV heads {self.kv_heads} of {self.head_dim}, {self.dtype}, "
            f"mask {self.mask_dtype}"
        )


@dataclass(frozen=True)
class Prefill:
    length: int
    layout: HiddenLayout
    width: Width


@dataclass(frozen=True)
class Decode:
    """`rows` of the cache. `kv_form`: what comes back of it, the new row or all of it."""

    rows: int
    kv_form: KvForm
    width: Width


def read_prefill(net: str, stage: Stage) -> Prefill:
    """Of one device. Raises Unexpected."""
    hidden, positions, mask = _inputs(net, stage, "hidden states, position ids and a mask", 3)
    _, key, value = _outputs(net, stage)
    length, size = _rows(net, hidden)
    layout: HiddenLayout = "[1,S,H]" if hidden.shape[0] == 1 else "[S,1,H]"
    _expect(net, positions, ("i32",), length)
    _expect(net, mask, _FLOATS, length * length)
    rows, heads, dim = _cache(net, key, value)
    if rows != length:
        raise Unexpected(
            f"{net} returns {rows} rows of the cache for {length} tokens", "one for each"
        )
    return Prefill(length, layout, Width(size, heads, dim, hidden.dtype, mask.dtype))


def read_decode(net: str, stage: Stage) -> Decode:
    """Of one device. Raises Unexpected."""
    what = "hidden states, position ids, a mask, K and V"
    hidden, positions, mask, past_key, past_value = _inputs(net, stage, what, 5)
    _, key, value = _outputs(net, stage)
    length, size = _rows(net, hidden)
    if length != 1:
        raise Unexpected(f"{net} takes {length} tokens", "one")
    rows, heads, dim = _cache(net, past_key, past_value)
    _expect(net, positions, ("i32",), 1)
    _expect(net, mask, _FLOATS, rows + 1)
    back = _cache(net, key, value)[0]
    if back not in (1, rows):
        raise Unexpected(
            f"{net} returns {back} rows of a cache of {rows}", "the new one or all of them"
        )
    form: KvForm = "row" if back == 1 else "shifted"
    return Decode(rows, form, Width(size, heads, dim, hidden.dtype, mask.dtype))


def _inputs(net: str, stage: Stage, what: str, count: int) -> tuple[Tensor, ...]:
    if len(stage.inputs) != count:
        raise Unexpected(f"{net} takes {_listed(stage.inputs)}", what)
    return stage.inputs


def _outputs(net: str, stage: Stage) -> tuple[Tensor, ...]:
    if len(stage.outputs) != 3:
        raise Unexpected(f"{net} returns {_listed(stage.outputs)}", "hidden states, K and V")
    return stage.outputs


def _rows(net: str, hidden: Tensor) -> tuple[int, int]:
    """Tokens and hidden size."""
    if hidden.dtype not in _FLOATS or len(hidden.shape) != 3 or 1 not in hidden.shape[:2]:
        raise Unexpected(f"{net} takes the hidden states {hidden}", "f16 [S,1,H] or [1,S,H]")
    return hidden.shape[0] * hidden.shape[1], hidden.shape[2]


def _cache(net: str, key: Tensor, value: Tensor) -> tuple[int, int, int]:
    """Rows, heads and values of a head."""
    if len(key.shape) != 4 or 1 not in key.shape[:2] or key.shape != value.shape:
        raise Unexpected(f"{net} has the cache {key} and {value}", "f16 [S,1,KV,D] twice")
    return key.shape[0] * key.shape[1], key.shape[2], key.shape[3]


def _expect(net: str, tensor: Tensor, dtypes: tuple[str, ...], elements: int) -> None:
    if tensor.dtype not in dtypes or tensor.elements != elements:
        raise Unexpected(
            f"{net} takes {tensor.name} {tensor}", f"{dtypes[0]} with {elements} elements"
        )


def _listed(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(map(str, tensors)) or "nothing"
