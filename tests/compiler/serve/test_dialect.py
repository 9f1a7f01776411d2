"""The text of a net in the compiler's dialect."""

from __future__ import annotations

import pytest

from glmd.compiler.nets import Port
from glmd.compiler.serve.dialect import Graph


def test_a_small_net() -> None:
    graph = Graph("small", "../small.npz")
    rows = graph.input(Port("rows", "f16", (2, 4)))
    sum_ = graph.matmul(rows, graph.weight("matrix", (4, 3)), name="sum")
    assert graph.text([sum_]).splitlines() == [
        'module @small attributes {module.chip = "ALL", module.platform = "ONNX", '
        'module.state = "TOP_F32", module.top_run_mode = "STATIC", '
        'module.weight_file = "../small.npz"} {',
        "func.func @main(%arg0: tensor<2x4xf32>) -> (tensor<2x3xf32>) {",
        '%none = "top.None"() : () -> none',
        '%0 = "top.Input"(%arg0) {} : (tensor<2x4xf32>) -> tensor<2x4xf32> loc("rows")',
        '%1 = "top.Weight"() {} : () -> tensor<4x3xf32> loc("matrix")',
        '%2 = "top.MatMul"(%0, %1, %none) {} : (tensor<2x4xf32>, tensor<4x3xf32>, none) '
        '-> tensor<2x3xf32> loc("sum")',
        "return %2 : tensor<2x3xf32>",
        "}",
        "}",
    ]


def test_shapes_follow_from_the_operations() -> None:
    graph = Graph("shapes", "")
    value = graph.input(Port("value", "f16", (2, 3, 8)))
    assert graph.slice(value, 2, 2, 5).shape == (2, 3, 3)
    assert graph.concat([value, value], 1).shape == (2, 6, 8)
    query = graph.input(Port("query", "f16", (1, 3, 4, 8)))
    rows = graph.input(Port("rows", "f16", (1, 5, 2, 8)))
    mask = graph.input(Port("mask", "f16", (1, 1, 3, 5)))
    assert graph.attention(query, rows, rows, mask).shape == (1, 3, 32)
    assert graph.permute(rows, (0, 2, 3, 1)).shape == (1, 2, 8, 5)
    assert graph.sum(rows, 1).shape == graph.sum(graph.sum(rows, 1), 1).shape == (1, 1, 2, 8)
    assert graph.softmax(rows, 3).shape == graph.scale(rows, 0.5).shape == rows.shape
    assert graph.add(value, graph.weight("bias", (1, 1, 8))).shape == (2, 3, 8)
    assert [half.shape for half in graph.top(value, 5, ("values", "ids"))] == [(2, 3, 5)] * 2
    ids = graph.input(Port("ids", "i32", (1, 6)))
    assert graph.gather(graph.weight("table", (10, 4)), ids).shape == (1, 6, 4)


def test_a_reshape_that_loses_values_is_a_mistake_here() -> None:
    graph = Graph("shapes", "")
    with pytest.raises(ValueError, match=r"\(2, 4\) cannot be \(3, 3\)"):
        graph.reshape(graph.input(Port("value", "f16", (2, 4))), (3, 3))
