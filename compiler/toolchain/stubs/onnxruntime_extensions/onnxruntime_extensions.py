"""Stands in for onnxruntime_extensions in TPU-MLIR's Python, which declares operators of its own
with it at import and runs none of them for our nets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def onnx_op(*arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda function: function


class PyOp:
    dt_float = 1
    dt_int32 = 6
    dt_int64 = 7
    dt_string = 8
    dt_bool = 9


class PyOrtFunction:
    pass
