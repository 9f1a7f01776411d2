"""The pickle inside a .bin shard, read without running anything.

A pickle is a program for a stack machine, and Python's machine will call any function it names.
This one knows the instructions that torch.save writes for a dict of tensors, and the five globals
it names; everything else is refused. Opcodes: Lib/pickletools.py; what torch writes:
torch/serialization.py and torch/_tensor.py.
"""

from __future__ import annotations

import pickletools
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

_LITERALS: dict[str, object] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Malformed(Exception):
    """The pickle is not what torch.save writes for a dict of tensors; the message says why."""


def load_tensors(pickled: bytes) -> dict[str, PickledTensor]:
    """Name -> tensor. Raises Malformed."""
    try:
        state = _Machine().run(pickled)
    except (ValueError, IndexError, KeyError) as error:  # a truncated or scrambled program
        raise Malformed("its pickle is damaged") from error
    if not isinstance(state, dict):
        raise Malformed("it holds no dict of tensors")
    for name, value in state.items():
        if not isinstance(value, PickledTensor):
            raise Malformed(f"{name!r} in it is not a tensor")
    return state


class _Machine:
    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def run(self, pickled: bytes) -> object:
        for opcode, argument, _ in pickletools.genops(pickled):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _VALUES:
                self.stack.append(argument)
            elif name in _LITERALS:
                self.stack.append(_LITERALS[name])
            elif name in ("BINPUT", "LONG_BINPUT"):
                self.memo[int(argument or 0)] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[int(argument or 0)])
            else:
                self._build(name, argument)
        raise Malformed("its pickle has no end")

    def _build(self, name: str, argument: object) -> None:
        stack = self.stack
        if name == "MARK":
            stack.append(_MARK)
        elif name in ("EMPTY_TUPLE", "EMPTY_DICT"):
            stack.append(() if name == "EMPTY_TUPLE" else {})
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name in _TUPLES:
            stack.append(tuple(stack.pop() for _ in range(_TUPLES[name]))[::-1])
        elif name == "SETITEMS":
            items = self._since_mark()
            self._set(items[::2], items[1::2])
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._set([key], [value])
        elif name == "GLOBAL":
            stack.append(_known(str(argument).replace(" ", ".", 1)))
        elif name == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, arguments))
        elif name == "BUILD":
            stack.pop()  # the state of an OrderedDict: torch's _metadata
            if not isinstance(stack[-1], dict):
                raise Malformed("it sets attributes of something that is no dict")
        elif name != "PROTO":
            raise Malformed(
                f"its pickle has the instruction {name}, which no dict of tensors needs"
            )

    def _since_mark(self) -> list[object]:
        position = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[position + 1 :]
        del self.stack[position:]
        return items

    def _set(self, keys: list[object], values: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(keys) != len(values):
            raise Malformed("it sets items of something that is no dict")
        for key, value in zip(keys, values, strict=True):
            # Only strings: hashing what a hostile file has nested can take forever.
            if not isinstance(key, str):
                raise Malformed("it names a tensor by something that is no string")
            target[key] = value


def _known(name: str) -> _Global:
    found = _Global(name)
    if found not in _GLOBALS:
        raise Malformed(f"it asks for {name}, which no tensor of ChatGLM3 needs")
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
