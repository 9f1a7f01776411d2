"""The pickle inside .bin shards: tensors are read, and nothing that a file asks for is ever run."""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import torch_file
from support.torch_file import integer, numbers, tensor, text

from glmd.checkpoint.torch_file import read_header
from glmd.checkpoint.unpickler import Malformed, PickledStorage, PickledTensor, load_tensors
from glmd.errors import ModelError

PLAIN = tensor("0", "HalfStorage", 12, 0, (3, 4), (4, 1))


def test_a_state_dict() -> None:
    pickled = torch_file.state_dict(
        {"a": PLAIN, "b": tensor("k", "FloatStorage", 9, 2, (7,), (1,))}
    )
    assert load_tensors(pickled) == {
        "a": PickledTensor(PickledStorage("0", "F16", 12), 0, (3, 4), (4, 1)),
        "b": PickledTensor(PickledStorage("k", "F32", 9), 2, (7,), (1,)),
    }


def test_a_plain_dict_with_memo_and_short_tuples() -> None:
    """What torch.save makes of a dict: BINPUT behind every value, TUPLE2 for two sizes."""
    shape = b"K\x03K\x04\x86q\x05"
    pickled = (
        b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02("
        b"(X\x07\x00\x00\x00storageq\x03ctorch\nHalfStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        b"K\x0ctq\x04QK\x00" + shape + b"K\x04K\x01\x86\x89ccollections\nOrderedDict\n)RtRs."
    )
    assert load_tensors(pickled) == {
        "a": PickledTensor(PickledStorage("0", "F16", 12), 0, (3, 4), (4, 1))
    }


class Attack:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


MARKER = "was_here"

ATTACKS = {
    "posix.system": Attack(os.system, f"touch {MARKER}"),
    "subprocess.Popen": Attack(subprocess.Popen, ["touch", MARKER]),
    "builtins.eval": Attack(eval, f"open({MARKER!r}, 'w')"),
    "builtins.exec": Attack(exec, f"open({MARKER!r}, 'w')"),
    "builtins.getattr": Attack(getattr, 1, "real"),
    "shutil.copyfile": Attack(shutil.copyfile, __file__, MARKER),
    "collections.Counter": Attack(collections.Counter, "abc"),
}


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_function_is_called(
    name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps({"weight": ATTACKS[name]}, protocol, fix_imports=False)
    with pytest.raises(Malformed) as refused:
        load_tensors(pickled)
    assert protocol < 2 or f"asks for {name}," in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_newer_protocols_are_refused(protocol: int) -> None:
    with pytest.raises(Malformed):
        load_tensors(pickle.dumps({"weight": ATTACKS["posix.system"]}, protocol))


@pytest.mark.parametrize(
    "program",
    {
        "stack global": b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93",
        "instance": b"(ios\nsystem\n",
        "object": b"(cos\nsystem\no",
        "new object": b"ccollections\nOrderedDict\n)\x81",
        "extension": b"\x82\x01",
        "text persistent id": b"P0\n",
        "a storage alone": b"ctorch\nHalfStorage\n",
        "a storage that is called": b"ctorch\nHalfStorage\n)R",
        "an attribute of a function": b"ctorch._utils\n_rebuild_tensor_v2\n}b",
        "an OrderedDict with arguments": b"ccollections\nOrderedDict\n(K\x01tR",
        "a module under the torch": b"ctorch.serialization\nload\n",
        "a name with a dot": b"ctorch\nHalfStorage.__init__.__globals__\n",
        "another storage": b"ctorch\nLongStorage\n",
        "a call of a string": b"X\x01\x00\x00\x00a)R",
        "a call with a dict": b"ccollections\nOrderedDict\n}R",
        "a dict in a dict": b"}",
        "a number": b"K\x01",
        "none": b"N",
        "a tuple": b")",
    }.items(),
    ids=lambda item: item[0],
)
def test_what_no_tensor_needs_is_refused(program: tuple[str, bytes]) -> None:
    pickled = b"\x80\x02}" + text("weight") + program[1] + b"s."
    with pytest.raises(Malformed):
        load_tensors(pickled)


PERSISTENT = b"(" + text("storage") + b"ctorch\nHalfStorage\n" + text("0") + text("cpu")


@pytest.mark.parametrize(
    "rebuilt",
    [
        PERSISTENT + integer(-1) + b"tQ" + integer(0) + numbers((1,)) + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(-1) + numbers((1,)) + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(0) + numbers((1,)) + numbers((-1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(0) + numbers((-1,)) + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(0) + numbers((1 << 70,)) + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(0) + numbers((1, 1)) + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(0) + text("1") + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + numbers((0,)) + numbers((1,)) + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(0) + b"(\x88t" + numbers((1,)),
        PERSISTENT + integer(4) + b"t" + integer(0) + numbers((1,)) + numbers((1,)),
        PERSISTENT + text("4") + b"tQ" + integer(0) + numbers((1,)) + numbers((1,)),
        PERSISTENT + b"tQ" + integer(0) + numbers((1,)) + numbers((1,)),
        PERSISTENT + integer(4) + b"tQ" + integer(0) + numbers((1,)),
    ],
)
def test_numbers_that_are_no_sizes_are_refused(rebuilt: bytes) -> None:
    value = b"ctorch._utils\n_rebuild_tensor_v2\n(" + rebuilt + b"tR"
    with pytest.raises(Malformed):
        load_tensors(torch_file.state_dict({"weight": value}))


def test_nested_tuples_cost_nothing() -> None:
    """Fifty doublings: hashing, comparing or printing the result would never end."""
    nested = b"K\x01\x85" + b"q\x00h\x00\x86" * 50
    started = time.process_time()
    for program in (
        b"\x80\x02}" + nested + b"K\x01s.",
        b"\x80\x02}" + text("a") + nested + b"s.",
        b"\x80\x02}" + text("a") + nested + b"Qs.",
        b"\x80\x02}" + text("a") + nested + b")Rs.",
    ):
        with pytest.raises(Malformed):
            load_tensors(program)
    assert time.process_time() - started < 5


def test_a_memo_of_billions_costs_nothing() -> None:
    program = b"\x80\x02}r" + struct.pack("<I", (1 << 32) - 1) + b"."
    assert load_tensors(program) == {}


VALID = torch_file.state_dict({"a": PLAIN, "b": PLAIN})


def test_every_truncation_is_refused() -> None:
    for end in range(len(VALID)):
        with pytest.raises(Malformed):
            load_tensors(VALID[:end])


@settings(max_examples=2000, deadline=None, derandomize=True)
@given(st.data())
def test_scrambled_programs_are_refused_or_read(data: st.DataObject) -> None:
    program = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        program[data.draw(st.integers(0, len(program) - 1))] = data.draw(st.integers(0, 255))
    try:
        tensors = load_tensors(bytes(program))
    except Malformed:
        return
    assert all(isinstance(value, PickledTensor) for value in tensors.values())


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(program: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert load_tensors(b"\x80\x02" + program) == {}


HALVES = np.arange(12, dtype=np.float16)


def write(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None) -> Path:
    torch_file.write_archive(path, pickled, storages or {"0": HALVES.tobytes()})
    return path


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((3, 4), (4, 1), 0),
        ((4, 3), (1, 4), 0),  # transposed
        ((2, 2), (4, 1), 5),  # a window
        ((2, 3), (6, 2), 1),  # every second column
        ((5, 3), (0, 1), 9),  # expanded
        ((), (), 7),
    ],
)
def test_views_are_read_as_torch_means_them(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    value = tensor("0", "HalfStorage", 12, offset, shape, strides)
    path = write(tmp_path / "a.bin", torch_file.state_dict({"a": value}))
    expected = np.lib.stride_tricks.as_strided(
        HALVES[offset:], shape, tuple(step * 2 for step in strides)
    )
    read = read_header(path)["a"].read()
    np.testing.assert_array_equal(read, expected)
    assert read.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((13,), (1,), 0), ((12,), (1,), 1), ((2, 4), (9, 1), 0), ((1 << 40, 1 << 20), (1, 1), 0)],
)
def test_a_view_beyond_its_storage_is_refused(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    value = tensor("0", "HalfStorage", 1 << 61, offset, shape, strides)
    path = write(tmp_path / "a.bin", torch_file.state_dict({"wide": value}))
    with pytest.raises(ModelError, match=r"a\.bin was refused: 'wide' is larger than its storage"):
        read_header(path)


def test_a_storage_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", torch_file.state_dict({"a": PLAIN}), {"1": b""})
    with pytest.raises(ModelError, match=r"a\.bin was refused: it has no data/0"):
        read_header(path)


def test_a_refusal_names_the_file_and_the_function(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", pickle.dumps({"w": ATTACKS["posix.system"]}, 2))
    with pytest.raises(ModelError, match=r"a\.bin was refused: it asks for posix\.system"):
        read_header(path)
