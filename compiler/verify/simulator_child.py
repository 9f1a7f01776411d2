"""The simulator's process, run by the toolchain's own Python: it may print, crash and exit there.

    simulator_child.py BMODEL DESCRIPTOR

Reads lines `NET<tab>INPUTS.npz<tab>OUTPUTS.npz` from stdin, arrays in the net's order. Answers each
with an empty line on the file descriptor.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyruntime_bm

_SYMBOL = b"pthread_mutex_unlock"

# Entries of an ELF's dynamic section, from elf.h.
_PLTRELSZ, _STRTAB, _SYMTAB, _JMPREL = 2, 5, 6, 23


def run(net: Any, inputs: Any, path: str) -> None:
    """Run `net` once, in the stage of these shapes. There is room for those of its first stage."""
    arrays = [inputs[name] for name in inputs.files]
    for port, given in zip(net.inputs, arrays, strict=True):
        port.data.reshape(-1)[: given.size] = given.ravel()
    shapes = net.forward_dynamic([list(array.shape) for array in arrays])
    outputs = zip((port.data.reshape(-1) for port in net.outputs), shapes, strict=True)
    np.savez(path, *(data[: np.prod(shape)].reshape(shape) for data, shape in outputs))


def let_threads_yield() -> None:
    """Make the simulator's threads give way whenever they unlock a mutex.

    Seven of them spin on what another has to do first, each for its whole share of a processor. The
    slot through which the simulator calls pthread_mutex_unlock is pointed at a piece of code that
    calls it and then sched_yield: on two cores that is twenty times faster.
    """
    libc = ctypes.CDLL(None)
    address = _code_for(libc.pthread_mutex_unlock, libc.sched_yield)
    for base in _bases("libcmodel"):
        for slot in _slots(base):
            page = slot & -mmap.PAGESIZE
            if libc.mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 3) == 0:
                ctypes.c_uint64.from_address(slot).value = address


def _code_for(first: Any, second: Any) -> int:
    """Where a function lies that calls both and returns what the first did; x86-64."""
    one, two = (ctypes.cast(f, ctypes.c_void_p).value or 0 for f in (first, second))
    code = (
        b"\x48\x83\xec\x18"  # sub rsp, 24
        + (b"\x48\xb8" + struct.pack("<Q", one) + b"\xff\xd0")  # mov rax, one; call rax
        + b"\x89\x44\x24\x08"  # mov [rsp + 8], eax
        + (b"\x48\xb8" + struct.pack("<Q", two) + b"\xff\xd0")
        + b"\x8b\x44\x24\x08"  # mov eax, [rsp + 8]
        + b"\x48\x83\xc4\x18\xc3"  # add rsp, 24; ret
    )
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    view = (ctypes.c_char * mmap.PAGESIZE).from_buffer(page)
    _kept.append((page, view))
    return ctypes.addressof(view)


_kept: list[object] = []  # what must not be unmapped


def _bases(name: str) -> set[int]:
    """Where the libraries of that name are mapped."""
    bases: dict[str, int] = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if name in Path(path).name:
            bases.setdefault(path, int(line.split("-")[0], 16))
    return set(bases.values())


def _slots(base: int) -> list[int]:
    """The addresses from which the library at `base` takes where _SYMBOL is: elf(5)."""

    def read(form: str, place: int) -> tuple[int, ...]:
        return struct.unpack(form, ctypes.string_at(place, struct.calcsize(form)))

    headers, size, count = read("<Q", base + 32)[0], *read("<HH", base + 54)
    segments = [read("<IIQQQQQQ", base + headers + n * size) for n in range(count)]
    dynamic = next((base + segment[3] for segment in segments if segment[0] == 2), None)
    entries: dict[int, int] = {}
    while dynamic is not None:
        tag, value = read("<QQ", dynamic)
        if tag == 0:
            break
        entries[tag] = value
        dynamic += 16
    found = []
    for place in range(0, entries.get(_PLTRELSZ, 0), 24):
        offset, info, _ = read("<QQq", entries[_JMPREL] + place)
        name = entries[_STRTAB] + read("<I", entries[_SYMTAB] + 24 * (info >> 32))[0]
        if ctypes.string_at(name) == _SYMBOL:
            found.append(base + offset)
    return found


def main() -> None:
    model = pyruntime_bm.Model(sys.argv[1], 0, "")
    let_threads_yield()
    with os.fdopen(int(sys.argv[2]), "w") as answers:
        for line in sys.stdin:
            name, given, path = line.rstrip("\n").split("\t")
            run(model.Net(name), np.load(given), path)
            print(file=answers, flush=True)
    # Leaving as usual would run the library's own clean-up, which crashes.
    os._exit(0)


if __name__ == "__main__":
    main()
