"""The simulator's process, run by the toolchain's own Python: it may print, crash and exit there.

    simulator_child.py BMODEL DESCRIPTOR

Reads lines `NET<tab>INPUTS.npz<tab>OUTPUTS.npz` from stdin, arrays in the net's order.
Answers each with a line on the file descriptor, empty or what went wrong.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import pyruntime_bm


def run(net: Any, inputs: Any, path: str) -> str:
    """Run `net` once; what is wrong with the inputs, "" for nothing."""
    if len(net.inputs) != len(inputs.files):
        return f"it has {len(net.inputs)} inputs, not {len(inputs.files)}"
    for port, name in zip(net.inputs, inputs.files, strict=True):
        given = inputs[name]
        if given.shape != port.data.shape or given.dtype != port.data.dtype:
            found = f"{port.data.dtype} {list(port.data.shape)}"
            return f"{port.name} is {found}, not {given.dtype} {list(given.shape)}"
        port.data[:] = given
    net.forward()
    np.savez(path, *(port.data for port in net.outputs))
    return ""


def main() -> None:
    model = pyruntime_bm.Model(sys.argv[1], 0, "")
    known = set(model.networks)
    with os.fdopen(int(sys.argv[2]), "w") as answers:
        for line in sys.stdin:
            name, given, path = line.rstrip("\n").split("\t")
            if name in known:
                said = run(model.Net(name), np.load(given), path)
            else:
                said = f"{sys.argv[1]} has no such net"
            print(said, file=answers, flush=True)
    # Leaving as usual would run the library's own clean-up, which crashes.
    os._exit(0)


main()
