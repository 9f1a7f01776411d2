"""The pickle inside a .bin shard, read without running anything.

A pickle is a program for a stack machine, and Python's machine will call any function it names.
This one knows the instructions that torch.save writes for a dict of tensors, and the five globals
it names; everything else is refused. Opcodes: Lib/pickletools.py; what torch writes:
torch/serialization.py and torch/_tensor.py.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import TypeGuard


@dataclass(frozen=True)
class PickledStorage:
    """One file of the archive: `key` names it, `dtype` as safetensors calls it."""

    key: str
    dtype: str
    numel: int


@dataclass(frozen=True)
class PickledTensor:
    """A view of a storage; `offset` and `strides` in elements."""

    storage: PickledStorage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Global:
    name: str


_MARK = object()

_STORAGES = {
    _Global("torch.FloatStorage"): "F32",
    _Global("torch.HalfStorage"): "F16",
    _Global("torch.BFloat16Storage"): "BF16",
}
_REBUILD_TENSOR = _Global("torch._utils._rebuild_tensor_v2")
_ORDERED_DICT = _Global("collections.OrderedDict")
_GLOBALS = {*_STORAGES, _REBUILD_TENSOR, _ORDERED_DICT}


class Malformed(Exception):
    """The pickle is not what torch.save writes for a dict of tensors; the message says why."""


def load_tensors(pickled: bytes) -> dict[str, PickledTensor]:
    """Name -> tensor. Raises Malformed."""
    try:
        state = _Machine(pickled).run()
    except (ValueError, IndexError, KeyError) as error:  # a scrambled program
        raise Malformed("its pickle is damaged") from error
    if not isinstance(state, dict):
        raise Malformed("it holds no dict of tensors")
    for name, value in state.items():
        if not isinstance(value, PickledTensor):
            raise Malformed(f"{name!r} in it is not a tensor")
    return state


class _Machine:
    def __init__(self, pickled: bytes) -> None:
        self._program = io.BytesIO(pickled)
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def run(self) -> object:
        stack = self._stack
        while (code := self._take(1)) != pickle.STOP:
            match code:
                case pickle.PROTO:
                    self._take(1)
                case pickle.NONE:
                    stack.append(None)
                case pickle.NEWTRUE:
                    stack.append(True)
                case pickle.NEWFALSE:
                    stack.append(False)
                case pickle.BININT:
                    stack.append(self._number(4, signed=True))
                case pickle.BININT1:
                    stack.append(self._number(1))
                case pickle.BININT2:
                    stack.append(self._number(2))
                case pickle.LONG1:
                    stack.append(self._number(self._number(1), signed=True))
                case pickle.BINUNICODE:
                    stack.append(self._take(self._number(4)).decode())
                case pickle.BINPUT:
                    self._memo[self._number(1)] = stack[-1]
                case pickle.LONG_BINPUT:
                    self._memo[self._number(4)] = stack[-1]
                case pickle.BINGET:
                    stack.append(self._memo[self._number(1)])
                case pickle.LONG_BINGET:
                    stack.append(self._memo[self._number(4)])
                case pickle.MARK:
                    stack.append(_MARK)
                case pickle.EMPTY_DICT:
                    stack.append({})
                case pickle.EMPTY_TUPLE:
                    stack.append(())
                case pickle.TUPLE:
                    stack.append(tuple(self._since_mark()))
                case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
                    size = 1 + (pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3).index(code)
                    stack.append(tuple(stack.pop() for _ in range(size))[::-1])
                case pickle.SETITEM:
                    value, key = stack.pop(), stack.pop()
                    self._set([key], [value])
                case pickle.SETITEMS:
                    items = self._since_mark()
                    self._set(items[::2], items[1::2])
                case pickle.GLOBAL:
                    stack.append(_known(f"{self._line()}.{self._line()}"))
                case pickle.BINPERSID:
                    stack.append(_storage(stack.pop()))
                case pickle.REDUCE:
                    arguments, function = stack.pop(), stack.pop()
                    stack.append(_call(function, arguments))
                case pickle.BUILD:
                    stack.pop()  # the state of an OrderedDict: torch's _metadata
                    if not isinstance(stack[-1], dict):
                        raise Malformed("it sets attributes of something that is no dict")
                case _:
                    raise Malformed(f"its pickle has an instruction {code!r} that no tensor needs")
        return stack.pop()

    def _take(self, size: int) -> bytes:
        data = self._program.read(size)
        if len(data) < size:
            raise Malformed("its pickle ends too early")
        return data

    def _number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self._take(size), "little", signed=signed)

    def _line(self) -> str:
        return self._program.readline().decode().removesuffix("\n")

    def _since_mark(self) -> list[object]:
        position = len(self._stack) - 1 - self._stack[::-1].index(_MARK)
        items = self._stack[position + 1 :]
        del self._stack[position:]
        return items

    def _set(self, keys: list[object], values: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(keys) != len(values):
            raise Malformed("it sets items of something that is no dict")
        for key, value in zip(keys, values, strict=True):
            # Only strings: hashing what a hostile file has nested can take forever.
            if not isinstance(key, str) or len(key) > 200:
                raise Malformed("it names a tensor by something that is no name")
            target[key] = value


def _known(name: str) -> _Global:
    found = _Global(name)
    if found not in _GLOBALS:
        raise Malformed(f"it asks for {name[:200]}, which no tensor of ChatGLM3 needs")
    return found


def _call(function: object, arguments: object) -> object:
    if not isinstance(arguments, tuple):
        raise Malformed("its pickle is damaged")
    if function == _ORDERED_DICT and arguments == ():
        return {}
    if function == _REBUILD_TENSOR and len(arguments) >= 4:
        storage, offset, shape, strides = arguments[:4]
        if (
            isinstance(storage, PickledStorage)
            and isinstance(offset, int)
            and _sizes((offset,))
            and _sizes(shape)
            and _sizes(strides)
            and len(shape) == len(strides)
        ):
            return PickledTensor(storage, offset, shape, strides)
    raise Malformed("it describes a tensor in a way that torch.save does not")


def _storage(persistent_id: object) -> PickledStorage:
    """The tuple that torch.save gives: ("storage", type, key, device, number of elements)."""
    if isinstance(persistent_id, tuple) and len(persistent_id) == 5:
        tag, kind, key, _, numel = persistent_id
        if (
            tag == "storage"
            and isinstance(kind, _Global)
            and kind in _STORAGES
            and isinstance(key, str)
            and isinstance(numel, int)
            and _sizes((numel,))
        ):
            return PickledStorage(key, _STORAGES[kind], numel)
    raise Malformed("it refers to a storage in a way that torch.save does not")


def _sizes(values: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(values, tuple) and all(type(v) is int and 0 <= v < 1 << 62 for v in values)
