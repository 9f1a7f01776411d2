"""Writing a net in `top`, the dialect that TPU-MLIR turns ONNX into before it compiles.

Only the operations that the recipe needs, each with the attributes that have no default. Source:
TopOps.td, which the tpu_mlir package carries under include/tpu_mlir/Dialect/Top/IR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from glmd.compiler.nets import Port

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """What an operation gives: its name in the text, and its shape."""

    name: str
    shape: Shape


NONE = Value("%none", ())


class Graph:
    """Every tensor is F32 in the text, whatever the device makes of it. Operations follow one
    another in the order of the calls; weights are laid out on the device in that order too, so
    that nets which use the same weights in the same order share them.

    `weights`: path of the npz that the compiler reads them from.
    """

    def __init__(self, net: str, weights: str) -> None:
        self._net = net
        self._file = weights
        self._arguments: list[str] = []
        self._lines: list[str] = []
        self._weights: dict[str, Value] = {}

    def input(self, port: Port) -> Value:
        type_ = _type(port.shape, "si32" if port.dtype == "i32" else "f32")
        argument = f"%arg{len(self._arguments)}"
        self._arguments.append(f"{argument}: {type_}")
        return self._add("Input", f"({argument})", f"({type_})", port.shape, name=port.name)

    def weight(self, name: str, shape: Shape) -> Value:
        """One of the npz; asked for again it is the same."""
        if name not in self._weights:
            self._weights[name] = self._add("Weight", "()", "()", shape, name=name)
        return self._weights[name]

    def matmul(self, left: Value, right: Value, bias: Value = NONE, name: str = "") -> Value:
        shape = *left.shape[:-1], right.shape[-1]
        return self._op("MatMul", (left, right, bias), shape, name=name)

    def attention(self, query: Value, key: Value, value: Value, mask: Value) -> Value:
        """[1, L, heads × D] of query [1, L, heads, D], key and value [1, M, KV, D] and a mask
        [1, 1, L, M] that is added; scores are divided by the root of D."""
        (_, length, heads, width), (_, past, groups, _) = query.shape, key.shape
        numbers = {
            "batch": 1,
            "q_head": heads,
            "kv_head": groups,
            "dim": width,
            "mq": length,
            "mk": past,
        }
        listed = "".join(f", {name} = {number} : i64" for name, number in numbers.items())
        attributes = f"scale = {width**-0.5:.17e} : f64, keep_dims = false{listed}"
        inputs = (query, key, value, mask, NONE)
        return self._op("FAttention", inputs, (1, length, heads * width), attributes)

    def add(self, left: Value, right: Value) -> Value:
        return self._op("Add", (left, right), _wider(left, right))

    def sub(self, left: Value, right: Value) -> Value:
        return self._op("Sub", (left, right), _wider(left, right))

    def mul(self, left: Value, right: Value) -> Value:
        return self._op("Mul", (left, right), _wider(left, right))

    def scale(self, value: Value, by: float) -> Value:
        return self._op("MulConst", (value,), value.shape, f"const_val = {by:.17e} : f64")

    def sum(self, value: Value, axis: int) -> Value:
        """Over `axis`, which stays with a size of 1."""
        shape = *value.shape[:axis], 1, *value.shape[axis + 1 :]
        attributes = f'axes = [{axis}], keepdims = true, mode = "ReduceSum"'
        return self._op("Reduce", (value,), shape, attributes)

    def softmax(self, value: Value, axis: int) -> Value:
        return self._op("Softmax", (value,), value.shape, f"axis = {axis} : si32")

    def silu(self, value: Value) -> Value:
        return self._op("SiLU", (value,), value.shape)

    def rms_norm(self, value: Value, weight: Value, epsilon: float) -> Value:
        return self._op("RMSNorm", (value, weight), value.shape, f"eps = {epsilon:.17e} : f64")

    def gather(self, table: Value, rows: Value) -> Value:
        """Rows [n, width] of `table` by numbers [1, n], as [1, n, width]."""
        shape = *rows.shape, *table.shape[1:]
        return self._op("Gather", (table, rows), shape, "axis = 0 : si32")

    def reshape(self, value: Value, shape: Shape, name: str = "") -> Value:
        if prod(shape) != prod(value.shape):
            raise ValueError(f"{value.shape} cannot be {shape}")
        return self._op("Reshape", (value,), shape, name=name)

    def permute(self, value: Value, order: Sequence[int]) -> Value:
        shape = tuple(value.shape[axis] for axis in order)
        return self._op("Permute", (value,), shape, f"order = {list(order)}")

    def slice(self, value: Value, axis: int, start: int, end: int) -> Value:
        offset, ends = [0] * len(value.shape), list(value.shape)
        offset[axis], ends[axis] = start, end
        shape = tuple(e - o for e, o in zip(ends, offset, strict=True))
        attributes = f"offset = {offset}, steps = {[1] * len(shape)}, ends = {ends}"
        return self._op("Slice", (value, NONE, NONE, NONE), shape, attributes)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self._op("Concat", values, tuple(shape), f"axis = {axis} : si32")

    def top(self, value: Value, count: int, names: tuple[str, str]) -> tuple[Value, Value]:
        """The `count` largest of the last axis, descending, and where they are."""
        type_ = _type((*value.shape[:-1], count))
        number = len(self._lines)
        self._lines.append(
            f'%{number}:2 = "top.TopK"({value.name}) '
            f"{{K = {count} : i64, axis = {len(value.shape) - 1} : i64}} : "
            f"({_type(value.shape)}) -> ({type_}, {type_}) "
            f'loc(fused["{names[0]}", "{names[1]}"])'
        )
        shape = *value.shape[:-1], count
        return Value(f"%{number}#0", shape), Value(f"%{number}#1", shape)

    def text(self, outputs: Sequence[Value]) -> str:
        """The whole module."""
        given = ", ".join(_type(value.shape) for value in outputs)
        names = ", ".join(value.name for value in outputs)
        attributes = ", ".join(
            f'module.{name} = "{value}"'
            for name, value in (
                ("chip", "ALL"),
                ("platform", "ONNX"),
                ("state", "TOP_F32"),
                ("top_run_mode", "STATIC"),
                ("weight_file", self._file),
            )
        )
        return "\n".join(
            [
                f"module @{self._net} attributes {{{attributes}}} {{",
                f"func.func @main({', '.join(self._arguments)}) -> ({given}) {{",
                '%none = "top.None"() : () -> none',
                *self._lines,
                f"return {names} : {given}",
                "}",
                "}",
                "",
            ]
        )

    def _op(
        self,
        kind: str,
        inputs: Sequence[Value],
        shape: Shape,
        attributes: str = "",
        *,
        name: str = "",
    ) -> Value:
        given = ", ".join(value.name for value in inputs)
        types = ", ".join(_type(v.shape) if v is not NONE else "none" for v in inputs)
        return self._add(kind, f"({given})", f"({types})", shape, attributes, name)

    def _add(
        self,
        kind: str,
        inputs: str,
        types: str,
        shape: Shape,
        attributes: str = "",
        name: str = "",
    ) -> Value:
        value = Value(f"%{len(self._lines)}", shape)
        self._lines.append(
            f'{value.name} = "top.{kind}"{inputs} {{{attributes}}} : {types} -> {_type(shape)} '
            f'loc("{name or f"{kind}_{len(self._lines)}"}")'
        )
        return value


def _type(shape: Shape, element: str = "f32") -> str:
    return f"tensor<{'x'.join(map(str, shape))}x{element}>"


def _wider(left: Value, right: Value) -> Shape:
    """Of two values of which one may have sizes of 1 where the other has more."""
    return tuple(max(sizes) for sizes in zip(left.shape, right.shape, strict=True))
